"""Backbones whose rows cannot be packed are served too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from cuecard.engine.json_grammar import GrammarCompiler
from cuecard.engine.protocol import Embedding, Finished, Held, Scoring, Token
from cuecard.errors import BackboneError, ConfigError, EngineError
from cuecard.tasks.encoding.pooling import embed_rows
from cuecard.types import Encoded, InputTokens, Placement
from support.serving.requests import (
    LONGER,
    held,
    noise,
    scored_alone,
    scoring,
    serving,
    tokens,
    writing,
    written,
    written_alone,
)
from support.tiny import tiny_backbone, tiny_encoder

SCHEMA = {
    "type": "object",
    "properties": {"good": {"type": "boolean"}},
    "required": ["good"],
    "additionalProperties": False,
}
DRAWN: dict[str, Any] = {"temperature": 1.2, "seed": 4}


def ids_of(said: Sequence[Token | Finished]) -> list[int]:
    return [token.id for token in said if isinstance(token, Token)]


@pytest.mark.parametrize("kind", ["t5-gated", "bart", "bloom-alibi"])
def test_as_alone(kind: str) -> None:
    backbone = tiny_backbone(kind)
    every = [held(1), held(2, 3), None]
    scored = [scoring(one, tokens(seed, 4 + seed)) for seed in range(4) for one in every]
    texts = [writing(one, tokens(seed, 4 + 9 * seed)) for seed in range(3) for one in every]

    async def ask() -> Any:
        async with serving(backbone) as engine:
            for one in (held(1), held(2, 3)):
                await engine.hold(one)
            scores = asyncio.gather(*(engine.score([row]) for row in scored))
            answers = asyncio.gather(*(written(engine, one) for one in texts))
            found = await scores, await answers
            await engine.drop("prompt-1")
            return *found, engine.stats()

    scores, answers, stats = asyncio.run(ask())
    for row, (found,) in zip(scored, scores, strict=True):
        assert found == pytest.approx(scored_alone(backbone, row), abs=1e-4)
    for one, (said, reason) in zip(texts, answers, strict=True):
        expected = written_alone(backbone, one)
        assert [token.id for token in said] == expected
        assert reason == ("length" if len(expected) == 12 else "stop")
    assert stats["passes"] < len(scored) + 2 * len(texts)  # batches, and not a row each
    assert stats["requests_begun"] == len(scored) + len(texts) and stats["queue_seconds"] > 0


@pytest.mark.parametrize("kind", ["bart", "t5-relu", "bloom-alibi"])
def test_draws_choices_and_constraints(kind: str) -> None:
    backbone = tiny_backbone(kind)
    grammar = asyncio.run(GrammarCompiler(backbone.tokenizer).compile(SCHEMA))
    ids = tokens(1, 9)
    plain = writing(held(1), ids, top_logprobs=3)
    drawn = [writing(held(1), ids, temperature=1.5, seed=seed) for seed in (1, 2, 1)]
    bound = [writing(held(1), ids, count=40, grammar=grammar, **how) for how in ({}, DRAWN)]
    cut = writing(held(1), ids, count=3, grammar=grammar)

    async def ask() -> Any:
        async with serving(backbone) as engine:
            every = [plain, *drawn, *bound, cut]
            found = await asyncio.gather(*(written(engine, each) for each in every))
            choices: list[Any] = engine.generate_choices(drawn)
            texts = [[piece async for piece in choice] for choice in choices]
            return found, texts

    (first, *draws, greedy, loose, short), choices = asyncio.run(ask())
    assert ids_of(first[0]) == written_alone(backbone, plain)
    for token in first[0]:
        assert len(token.top) == 3 and token.top[0] == (token.id, token.logprob)
    assert ids_of(draws[0][0]) == ids_of(draws[2][0]) != ids_of(draws[1][0])
    assert [ids_of(said) for said, _ in draws] == [ids_of(pieces) for pieces in choices]
    for said, reason in (greedy, loose):
        assert reason == "stop"
        review = json.loads(backbone.tokenizer.decode(ids_of(said)))
        assert review["good"] in (True, False)
    assert ids_of(short[0]) == ids_of(greedy[0])[:3] and short[1] == "length"


def test_an_answer_of_no_numbers_is_told() -> None:
    backbone = tiny_backbone("bart")
    broken = Held("broken", InputTokens(torch.full((2, 32), float("nan"))))

    async def ask() -> None:
        async with serving(backbone) as engine:
            with pytest.raises(BackboneError, match="no finite scores"):
                await written(engine, writing(broken, tokens(1, 4)))

    asyncio.run(ask())


@pytest.mark.parametrize("kind", ["bert", "deberta-v2"])
def test_words_at_a_mask(kind: str) -> None:
    backbone = tiny_backbone(kind)
    every = [held(1), held(2, 3), None]
    rows = [
        Scoring(one, Encoded(tokens(seed, 6 + seed), (), Placement.at(1), mask=2 + seed), LONGER)
        for seed in range(4)
        for one in every
    ]

    async def ask() -> Any:
        async with serving(backbone) as engine:
            scores = await engine.score(rows)
            with pytest.raises(BackboneError, match="does not generate"):
                await written(engine, writing(None, tokens(1, 4)))
            return scores, engine.stats()

    found, stats = asyncio.run(ask())
    for row, scores in zip(rows, found, strict=True):
        assert scores == pytest.approx(scored_alone(backbone, row), abs=1e-4)
    assert stats["passes"] < len(every) < len(rows)  # fewer than there are prompts


def test_only_the_row_that_does_not_fit_fails() -> None:
    backbone = tiny_backbone("bart")
    rows = [scoring(held(1), tokens(1, length)) for length in (5, 400, 6)]

    async def ask() -> list[Any]:
        async with serving(backbone) as engine:
            asked = [engine.score([row]) for row in rows]
            wide = scoring(Held("wide", InputTokens(noise(1, 3, 33))), tokens(1, 4))
            return await asyncio.gather(*asked, engine.score([wide]), return_exceptions=True)

    one, long, other, wide = asyncio.run(ask())
    assert one[0] == pytest.approx(scored_alone(backbone, rows[0]), abs=1e-4)
    assert other[0] == pytest.approx(scored_alone(backbone, rows[2]), abs=1e-4)
    assert isinstance(long, BackboneError) and isinstance(wide, BackboneError)


def test_only_the_text_that_does_not_fit_fails() -> None:
    """Among texts of other prompts, in the same pass."""
    backbone = tiny_encoder()
    texts = [
        Encoded(tokens(seed, length), (), Placement.at(1))
        for seed, length in enumerate((5, 400, 6, 9))
    ]
    wide = Held("wide", InputTokens(noise(1, 3, 33)))
    asked = [
        Embedding(prompt, row)
        for prompt, row in zip((held(1), held(2), None, wide), texts, strict=True)
    ]

    async def ask() -> list[Any]:
        async with serving(backbone) as engine:
            every = [engine.embed([each]) for each in asked]
            both = engine.embed([asked[0], asked[1], asked[2]])
            found = await asyncio.gather(*every, both, return_exceptions=True)
            assert await engine.embed([]) == []
            return found

    one, long, bare, other, both = asyncio.run(ask())
    for (vector,), each in ((one, asked[0]), (bare, asked[2])):
        injection = None if each.prompt is None else each.prompt.injection
        (alone,) = embed_rows(backbone, [each.row], injection)
        torch.testing.assert_close(vector, alone, atol=1e-5, rtol=1e-4)
    for error in (long, other, both):
        assert isinstance(error, BackboneError)


def test_vectors_that_are_no_numbers_are_told() -> None:
    backbone = tiny_encoder()
    broken = Held("broken", InputTokens(torch.full((2, 32), float("nan"))))

    async def ask() -> Any:
        async with serving(backbone) as engine:
            rows = [Embedding(broken, Encoded(tokens(1, 4), (), Placement.at(1)))] * 2
            good = engine.embed([Embedding(held(1), Encoded(tokens(1, 4), (), Placement.at(1)))])
            return await asyncio.gather(good, engine.embed(rows), return_exceptions=True)

    good, bad = asyncio.run(ask())
    assert isinstance(bad, BackboneError) and not bool(good[0].isnan().any())


def test_a_model_that_goes_on_gives_no_vectors() -> None:
    async def ask(kind: str) -> None:
        async with serving(tiny_backbone(kind)) as engine:
            assert engine.embedding_size is None
            with pytest.raises(ConfigError, match="no embeddings"):
                await engine.embed([Embedding(None, Encoded(tokens(1, 4), ()))])

    for kind in ("llama", "bart"):
        asyncio.run(ask(kind))


def test_failures_and_the_end_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny_backbone("bart")

    def failing(*_: Any) -> Any:
        raise RuntimeError("out of memory")

    async def ask() -> Any:
        async with serving(backbone) as engine:
            monkeypatch.setattr(backbone, "read_many", failing)
            with pytest.raises(EngineError, match="out of memory"):
                await engine.score([scoring(held(1), tokens(1, 4), words=LONGER)])
            assert engine.stats()["failed"] == 1
            task = asyncio.create_task(engine.score([scoring(None, tokens(1, 4))] * 50))
            await asyncio.sleep(0)
        return await asyncio.gather(task, return_exceptions=True)

    (error,) = asyncio.run(ask())
    assert isinstance(error, EngineError)
