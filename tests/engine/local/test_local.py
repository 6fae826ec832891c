"""Whatever runs beside it, every row gets the answer it gets alone."""

from __future__ import annotations

import asyncio
import random
import threading
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from cuecard.engine.protocol import Generation, Held, Scoring, Token
from cuecard.errors import BackboneError, ConfigError, EngineError
from cuecard.types import Encoded, InputTokens
from support.serving.requests import (
    LONGER,
    ONE_TOKEN,
    held,
    noise,
    prompts,
    scored_alone,
    scoring,
    serving,
    tokens,
    writing,
    written,
    written_alone,
)
from support.tiny import CONFIGS, shared_backbone, tiny_backbone

LATE = {"llama", "gpt2", "qwen2", "qwen3", "opt"}
KEYS = {"llama": 2, "qwen2": 2, "qwen3": 2, "mistral-sliding": 2, "gemma2-softcap": 2}


def every_kind(kind: str) -> list[tuple[Held | None, int]]:
    late = shared_backbone(kind).unsupported("late-prefix-kv") is None
    assert late is (kind in LATE)
    return prompts(KEYS.get(kind, 4), 8, late=late)


def close(found: list[float], expected: list[float]) -> bool:
    return all(abs(a - b) <= 1e-4 for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("max_num_batched_tokens", [40, 512])
@pytest.mark.parametrize("kind", CONFIGS)
def test_mixed_batches_score_as_alone(kind: str, max_num_batched_tokens: int) -> None:
    backbone = tiny_backbone(kind)
    kinds = [
        one for one in every_kind(kind) if kind != "bloom-alibi" or one[0] is None or one[1] <= 0
    ]
    asked = [
        scoring(prompt, tokens(seed, 3 + 11 * seed % 60), slot, words)
        for seed, words in enumerate((LONGER, ONE_TOKEN, LONGER))
        for prompt, slot in kinds
    ]

    async def ask() -> list[list[float]]:
        async with serving(backbone, max_num_batched_tokens=max_num_batched_tokens) as engine:
            half = len(asked) // 2
            parts = await asyncio.gather(engine.score(asked[:half]), engine.score(asked[half:]))
            return [scores for part in parts for scores in part]

    for one, scores in zip(asked, asyncio.run(ask()), strict=True):
        expected = scored_alone(backbone, one)
        assert close(scores, expected), (one.prompt and one.prompt.digest, scores, expected)


@pytest.mark.parametrize("kind", CONFIGS)
def test_mixed_batches_write_as_alone(kind: str) -> None:
    backbone = tiny_backbone(kind)
    asked = [
        writing(prompt, tokens(seed, 3 + 17 * seed), slot, 5 + 9 * seed)
        for seed in range(3)
        for prompt, slot in every_kind(kind)
    ]

    async def ask() -> list[Any]:
        async with serving(backbone, max_num_batched_tokens=64) as engine:
            return await asyncio.gather(*(written(engine, one) for one in asked))

    for one, (found, reason) in zip(asked, asyncio.run(ask()), strict=True):
        expected = written_alone(backbone, one)
        assert [token.id for token in found] == expected, one.prompt and one.prompt.digest
        assert reason == ("length" if len(expected) == one.sampling.max_new_tokens else "stop")


def test_tokens_come_with_their_log_probability() -> None:
    backbone = tiny_backbone()
    asked = writing(held(1), tokens(1, 9), count=6)

    async def ask() -> Any:
        async with serving(backbone) as engine:
            return await written(engine, asked)

    found, _ = asyncio.run(ask())
    word = tuple(token.id for token in found)
    whole = scored_alone(backbone, scoring(asked.prompt, asked.context, words=(word,)))
    assert close([sum(token.logprob for token in found)], whole)


def test_a_stop_id_ends_an_answer() -> None:
    backbone = tiny_backbone()
    plain = written_alone(backbone, writing(held(1), tokens(1, 9)))
    stop = plain[4]
    asked = writing(held(1), tokens(1, 9), stop_ids=(stop,))

    async def ask() -> Any:
        async with serving(backbone) as engine:
            return await written(engine, asked)

    found, reason = asyncio.run(ask())
    assert ([token.id for token in found], reason) == (plain[: plain.index(stop)], "stop")


@dataclass
class Churn:
    """Clients that do anything at any time, and know what each answer must be."""

    engine: Any
    prompts: list[Held]
    contexts: list[tuple[int, ...]]
    texts: dict[tuple[str, int], list[int]]
    scores: dict[tuple[str, int], list[float]]
    given_up: int = 0

    async def client(self, seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(6):
            one, number = chance.choice(self.prompts), chance.randrange(len(self.contexts))
            deed = chance.choices((self.score, self.write, self.stop, self.drop), (5, 5, 2, 1))[0]
            await deed(one, number, chance)
            await self.engine.hold(chance.choice(self.prompts))

    async def score(self, one: Held, number: int, chance: random.Random) -> None:
        asked = [scoring(one, self.contexts[number])] * chance.randrange(1, 4)
        for found in await self.engine.score(asked):
            assert close(found, self.scores[one.digest, number])

    async def write(self, one: Held, number: int, _: random.Random) -> None:
        found, _ = await written(self.engine, writing(one, self.contexts[number]))
        assert [token.id for token in found] == self.texts[one.digest, number]

    async def stop(self, one: Held, number: int, chance: random.Random) -> None:
        self.given_up += 1
        if chance.random() < 0.5:
            asked = [scoring(one, self.contexts[number])] * 8
            task = asyncio.create_task(self.engine.score(asked))
            await asyncio.sleep(0)
            task.cancel()
            return
        stream = self.engine.generate(writing(one, self.contexts[number]))
        for expected in self.texts[one.digest, number][: chance.randrange(3)]:
            assert (await anext(stream)).id == expected
        await stream.aclose()

    async def drop(self, one: Held, *_: Any) -> None:
        await self.engine.drop(one.digest)


def test_churn() -> None:
    """64 clients, prompts that come and go, room for a few of them, answers given up half way."""
    backbone = tiny_backbone()
    every = [held(seed, 3 + seed % 7) for seed in range(24)]
    contexts = [tokens(seed, 4 + seed) for seed in range(6)]
    pairs = [(one, number) for one in every for number in range(len(contexts))]
    texts = {
        (one.digest, number): written_alone(backbone, writing(one, contexts[number]))
        for one, number in pairs
    }
    for number in range(len(contexts)):
        answers = {tuple(texts[one.digest, number]) for one in every}
        assert len(answers) == len(every)  # only its own prompt gives an answer
    scores = {
        (one.digest, number): scored_alone(backbone, scoring(one, contexts[number]))
        for one, number in pairs
    }

    async def run() -> Any:
        async with serving(
            backbone, max_num_batched_tokens=96, max_num_seqs=12, cache_bytes=40_000
        ) as engine:
            churn = Churn(engine, every, contexts, texts, scores)
            await asyncio.gather(*(churn.client(seed) for seed in range(64)))
            for one in every:
                await engine.drop(one.digest)
            while engine.stats()["queue_rows"] or engine.stats()["writing_rows"]:
                await asyncio.sleep(0)
            await engine.score([scoring(None, contexts[0])])
            return engine.stats(), churn.given_up

    stats, given_up = asyncio.run(run())
    assert given_up > 20
    assert stats["prompt_cache_evictions"] > 0
    assert stats["prompt_cache_pinned_bytes"] == stats["answer_bytes"] == 0
    assert stats["prompt_cache_entries"] <= 1  # what contexts of the bare backbone begin with
    assert stats["failed"] == stats.get("failures", 0) == 0


def test_a_kept_prompt_is_not_computed_again() -> None:
    backbone = tiny_backbone()
    one, ids = held(1, 20), [tokens(seed, 10) for seed in range(8)]

    async def ask() -> list[float]:
        async with serving(backbone) as engine:
            await engine.hold(one)  # with its first row it runs
            computed = [engine.stats().get("tokens_computed", 0)]
            for batch in (ids[:4], ids[4:]):
                await engine.score([scoring(one, row, words=ONE_TOKEN) for row in batch])
                computed.append(engine.stats()["tokens_computed"])
            await engine.hold(one)
            computed.append(engine.stats()["tokens_computed"])
            return computed

    assert asyncio.run(ask()) == [0, 60, 100, 100]


def test_a_common_prefix_is_cached() -> None:
    """A template's first 12 tokens run once more than three neighbours need to be sure of them."""
    backbone = tiny_backbone()
    template, one = tokens(0, 12), held(1, 20)
    asked = [scoring(one, template + tokens(seed, 5), words=ONE_TOKEN) for seed in range(1, 12)]

    async def ask(prefix_caching: bool) -> tuple[list[list[float]], float, float]:
        async with serving(backbone, prefix_caching=prefix_caching) as engine:
            found = [(await engine.score([row]))[0] for row in asked]
            stats = engine.stats()
            return found, stats["tokens_computed"], stats["prompt_cache_bytes"]

    found, computed, nbytes = asyncio.run(ask(True))
    plainly, all_of_it, without = asyncio.run(ask(False))
    assert all_of_it == 20 + 11 * 17
    assert computed == all_of_it - 8 * 12  # the first three, which were needed to be sure
    each = 2 * 2 * 2 * 8 * 4
    assert (nbytes, without) == (32 * each, 20 * each)
    for one_row, scores, plain in zip(asked, found, plainly, strict=True):
        assert close(scores, plain)
        assert close(scores, scored_alone(backbone, one_row))


@pytest.mark.parametrize("own", [0, 20])
def test_a_long_prefix_is_waited_for(own: int) -> None:
    """Of texts that arrive at once all but the first three wait, whatever a pass has room for."""
    backbone = tiny_backbone()
    template, prompt = tokens(0, 150), held(1, own) if own else None
    asked = [writing(prompt, template + tokens(seed, 10), count=1) for seed in range(1, 13)]

    async def ask() -> tuple[list[Any], dict[str, float]]:
        async with serving(backbone, max_num_batched_tokens=64) as engine:
            found = await asyncio.gather(*(written(engine, one) for one in asked))
            return found, dict(engine.stats())

    found, stats = asyncio.run(ask())
    for one, (answer, _) in zip(asked, found, strict=True):
        assert [token.id for token in answer] == written_alone(backbone, one)
    assert stats["tokens_computed"] == own + 3 * 160 + 9 * 10
    assert stats["tokens_reused"] == 9 * 150 + (11 * own)


def test_a_row_that_does_not_fit_fails_alone() -> None:
    backbone = tiny_backbone()
    good = scoring(held(1), tokens(1, 9))
    bad: list[tuple[Scoring, type[Exception], str]] = [
        (scoring(held(1), tokens(1, 250)), BackboneError, "longer than the backbone's positions"),
        (scoring(Held("wide", InputTokens(noise(1, 4, 33))), tokens(1, 5)), BackboneError, "fit"),
        (
            Scoring(None, Encoded(tokens(1, 5), (), mask=3), ONE_TOKEN),
            BackboneError,
            "not at a mask",
        ),
        (scoring(held(1), ()), ConfigError, "a row cannot be run"),
        (scoring(held(1), tokens(1, 5), 9), ConfigError, "a row cannot be run"),
        (scoring(held(1), tokens(1, 5), words=((), (3,))), ConfigError, "no words to score"),
        (
            scoring(Held("nan", InputTokens(noise(1, 4, 32) * torch.nan)), tokens(1, 5)),
            BackboneError,
            "no finite scores",
        ),
    ]

    async def ask() -> list[Any]:
        async with serving(backbone) as engine:
            asked = [engine.score([good, one]) for one, _, _ in bad]
            return await asyncio.gather(*asked, engine.score([good]), return_exceptions=True)

    *failed, fine = asyncio.run(ask())
    for error, (_, kind, words) in zip(failed, bad, strict=True):
        assert isinstance(error, kind) and words in str(error)
    assert close(fine[0], scored_alone(backbone, good))


def test_an_answer_that_cannot_be_written_is_refused() -> None:
    backbone = tiny_backbone()
    bad: list[tuple[Generation, type[Exception], str]] = [
        (writing(held(1), tokens(1, 9), count=0), ConfigError, "parameters out of range"),
        (writing(held(1), tokens(1, 9), temperature=-1.0), ConfigError, "parameters out of range"),
        (writing(held(1), tokens(1, 9), top_p=0.0), ConfigError, "parameters out of range"),
        (writing(held(1), tokens(1, 9), count=300), BackboneError, "positions"),
        (
            writing(Held("nan", InputTokens(noise(1, 4, 32) * torch.nan)), tokens(1, 5)),
            BackboneError,
            "no finite scores",
        ),
    ]

    async def ask() -> list[Any]:
        async with serving(backbone) as engine:
            asked = [written(engine, one) for one, _, _ in bad]
            return await asyncio.gather(*asked, return_exceptions=True)

    for error, (_, kind, words) in zip(asyncio.run(ask()), bad, strict=True):
        assert isinstance(error, kind) and words in str(error)


def test_a_seed_gives_the_same_answer_in_any_batch() -> None:
    backbone = tiny_backbone()
    asked = writing(held(1), tokens(1, 9), count=20, temperature=1.5, top_p=0.9, seed=7)
    others = [writing(held(seed), tokens(seed, 5 + seed), count=30) for seed in range(2, 9)]

    async def ask() -> list[Any]:
        async with serving(backbone) as engine:
            alone = await written(engine, asked)
            beside = await asyncio.gather(*(written(engine, one) for one in (*others, asked)))
            other = writing(held(1), tokens(1, 9), count=20, temperature=1.5, top_p=0.9, seed=8)
            return [alone, beside[-1], await written(engine, other)]

    one, two, other = ([token.id for token in found] for found, _ in asyncio.run(ask()))
    assert one == two != other


def test_a_small_cache_serves_every_prompt() -> None:
    """Room for one prompt and a half: each waits for its turn, and none is mixed up."""
    backbone = tiny_backbone()
    every = [held(seed, 20) for seed in range(6)]
    asked = [scoring(one, tokens(3, 9)) for one in every for _ in range(3)]

    async def ask() -> Any:
        async with serving(backbone, cache_bytes=30 * 256) as engine:
            found = await asyncio.gather(*(engine.score([one]) for one in asked))
            return found, engine.stats()

    found, stats = asyncio.run(ask())
    for one, scores in zip(asked, found, strict=True):
        assert close(scores[0], scored_alone(backbone, one))
    assert stats["prompt_cache_bytes"] <= 30 * 256
    assert stats["prompt_cache_evictions"] >= 5


def test_answers_wait_for_room() -> None:
    backbone = tiny_backbone()
    asked = [writing(held(seed), tokens(seed, 9), count=30) for seed in range(9)]

    async def ask(**settings: Any) -> Any:
        async with serving(backbone, **settings) as engine:
            return await asyncio.gather(*(written(engine, one) for one in asked))

    expected = [written_alone(backbone, one) for one in asked]
    for settings in ({"max_num_seqs": 2}, {"kv_cache_bytes": 1}):
        answers = asyncio.run(ask(**settings))
        assert [[token.id for token in found] for found, _ in answers] == expected


def test_a_failed_pass_is_told_and_the_engine_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny_backbone()
    good = scoring(held(1), tokens(1, 9))
    run = backbone.ragged.run
    left = 1

    def failing(*args: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if left >= 0:
            raise RuntimeError("out of memory")
        return run(*args, **options)

    monkeypatch.setattr(backbone.ragged, "run", failing)

    async def ask() -> None:
        async with serving(backbone) as engine:
            with pytest.raises(EngineError, match="out of memory"):
                await engine.score([good])
            assert engine.stats()["failed"] == 1
            assert close((await engine.score([good]))[0], scored_alone(backbone, good))
            assert engine.stats()["failed"] == 0

    asyncio.run(ask())


def test_who_still_waits_when_it_closes_is_told() -> None:
    backbone = tiny_backbone()

    async def ask() -> list[Any]:
        async with serving(backbone) as engine:
            tasks = [
                asyncio.create_task(written(engine, writing(held(1), tokens(1, 9), count=200))),
                asyncio.create_task(engine.score([scoring(held(1), tokens(1, 9))] * 500)),
            ]
            await asyncio.sleep(0)
        with pytest.raises(EngineError, match="not running"):
            await engine.score([scoring(None, tokens(1, 3))])
        return await asyncio.gather(*tasks, return_exceptions=True)

    for error in asyncio.run(ask()):
        assert isinstance(error, EngineError) and "closed" in str(error)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("fails", [False, True])
def test_an_answer_half_written_is_told_of_the_end(
    fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = tiny_backbone()
    assert backbone.ragged is not None

    run, passes, go = backbone.ragged.run, 0, threading.Event()

    def held_up(*args: Any, **options: Any) -> Any:
        nonlocal passes
        passes += 1
        if passes == 3:
            go.wait(30)
            if fails:
                raise RuntimeError("out of memory")
        return run(*args, **options)

    monkeypatch.setattr(backbone.ragged, "run", held_up)

    async def ask() -> None:
        async with serving(backbone) as engine:
            answer = engine.generate(writing(held(1), tokens(1, 9), count=200))
            assert isinstance(await anext(answer), Token)
            closing = None if fails else asyncio.create_task(engine.close())
            await asyncio.sleep(0)  # it is told to close before the pass goes on
            go.set()
            with pytest.raises(EngineError, match="memory" if fails else "closed"):
                async for _ in answer:
                    pass
            if closing is not None:
                await closing

    asyncio.run(ask())


def test_it_does_not_run_before_it_starts() -> None:
    backbone = tiny_backbone()

    async def ask() -> None:
        async with serving(backbone) as engine:
            assert await engine.score([]) == []
            with pytest.raises(EngineError, match="started before"):
                await engine.start()

    asyncio.run(ask())
