"""Each engine's answers are those got alone; see support/serving/conformance.py."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from cuecard.backbones import load_frozen
from cuecard.engine.json_grammar import GrammarCompiler
from cuecard.engine.protocol import Engine, Finished, Grammar, Held, Sampling
from cuecard.errors import CuecardError
from cuecard.types import Encoded, InputTokens, PrefixKV
from support.serving.cases import NEW_TOKENS, Case, constrained_answer, make_cases
from support.serving.conformance import (
    churned,
    drawn,
    scored,
    tokens_of,
    told,
    written,
    wrongly_written,
)
from support.serving.engines import KINDS, Kind, at_work
from support.serving.llama import save_tiny_llama

TOLERANCE = 1e-4


# Ends by itself whatever a model likes.
SCHEMA = {
    "type": "object",
    "properties": {
        "good": {"type": "boolean"},
        "stars": {"type": "integer", "minimum": 1, "maximum": 5},
        "tags": {"type": "array", "items": {"enum": ["warm", "funny"]}, "maxItems": 2},
    },
    "required": ["good", "stars", "tags"],
    "additionalProperties": False,
}
CONSTRAINED_TOKENS = 64


@dataclass(frozen=True)
class Running:
    """An engine at work, its loop, and what to ask it.

    Attributes:
        constrained: what some cases' answers are under the grammar, got alone.
    """

    engine: Engine
    run: Callable[[Any], Any]
    cases: list[Case]
    kind: Kind
    grammar: Grammar
    constrained: list[tuple[Case, tuple[int, ...]]]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_frozen(save_tiny_llama(tmp_path_factory.mktemp("llama") / "tiny"), dtype="fp32")


@pytest.fixture(scope="module", params=KINDS)
def running(request: pytest.FixtureRequest, backbone: Any) -> Iterator[Running]:
    kind = KINDS[request.param]
    kind.needed()
    cases = make_cases(backbone, prefix_kv=kind.prefix_kv)
    grammar = asyncio.run(GrammarCompiler(backbone.tokenizer).compile(SCHEMA))
    constrained = [
        (case, constrained_answer(backbone, case, grammar, CONSTRAINED_TOKENS))
        for case in cases[:: len(cases) // 8]
    ]
    with at_work(kind, backbone) as (engine, run):
        yield Running(engine, run, cases, kind, grammar, constrained)


def test_the_cases_are_of_many_prompts_and_tell_them_apart(running: Running) -> None:
    cases = running.cases
    assert len(cases) > 70
    assert len({case.digest for case in cases}) > 20
    answers = [(case.key, case.answer) for case in cases]
    assert len(set(answers)) == len(answers)
    injections = {type(case.prompt.injection) for case in cases if case.prompt}
    assert injections == ({InputTokens, PrefixKV} if running.kind.prefix_kv else {InputTokens})


def test_one_call_with_every_prompt_scores_as_predict_does(running: Running) -> None:
    assert running.run(scored(running.engine, running.cases)) <= TOLERANCE


def test_one_at_a_time_scores_as_predict_does(running: Running) -> None:
    for case in running.cases[::9]:
        assert running.run(scored(running.engine, [case])) <= TOLERANCE


def test_all_at_once_write_what_each_writes_alone(running: Running) -> None:
    assert running.run(wrongly_written(running.engine, running.cases)) == []


def test_prompts_come_and_go_and_clients_hang_up(
    running: Running, pytestconfig: pytest.Config
) -> None:
    requests = int(pytestconfig.getoption("--requests"))
    tally = running.run(
        churned(running.engine, running.cases, requests=requests, tolerance=TOLERANCE)
    )
    assert tally.requests == requests and min(tally.asked.values()) > 0
    assert tally.moves > 0
    assert (tally.crossed, tally.wrong) == (0, 0), tally
    assert running.engine.stats()["failed"] == 0


def test_a_seed_draws_the_same_alone_and_in_company(running: Running) -> None:
    some = running.cases[:6]
    alone = [running.run(drawn(running.engine, [case], seed=5))[0] for case in some]
    assert running.run(drawn(running.engine, [*running.cases[6:20], *some], seed=5))[14:] == alone
    assert running.run(drawn(running.engine, some, seed=6)) != alone


def test_a_stop_token_ends_an_answer_and_is_not_part_of_it(running: Running) -> None:
    case = next(c for c in running.cases if len(set(c.answer)) > 3)
    stop = next(t for t in case.answer if t != case.answer[0])
    sampling = Sampling(NEW_TOKENS, stop_ids=(stop,))
    tokens, reason = running.run(written(running.engine, case.generation(sampling)))
    assert reason == "stop"
    assert tuple(tokens) == case.answer[: case.answer.index(stop)]


def test_constrained_answers_follow_their_schema_and_disturb_nobody(running: Running) -> None:
    sampling = Sampling(CONSTRAINED_TOKENS, grammar=running.grammar)
    plain = running.cases[:12]

    async def all_at_once() -> tuple[list[Any], list[Case]]:
        asked = [written(running.engine, c.generation(sampling)) for c, _ in running.constrained]
        both = await asyncio.gather(asyncio.gather(*asked), wrongly_written(running.engine, plain))
        return both[0], both[1]

    found, wrong = running.run(all_at_once())
    assert wrong == []
    for (tokens, reason), (_, alone) in zip(found, running.constrained, strict=True):
        assert tuple(tokens) == alone
        assert reason == "stop"
        review = json.loads(running.engine.tokenizer.decode(tokens))
        assert list(review) == ["good", "stars", "tags"]
    assert len({alone for _, alone in running.constrained}) > 1


def test_constrained_draws_follow_their_schema(running: Running) -> None:
    some = [case for case, _ in running.constrained]

    async def draw(seed: int) -> list[Any]:
        sampling = Sampling(
            CONSTRAINED_TOKENS, temperature=1.5, top_p=0.95, seed=seed, grammar=running.grammar
        )
        return await asyncio.gather(
            *(written(running.engine, case.generation(sampling)) for case in some)
        )

    first, again, other = (running.run(draw(seed)) for seed in (3, 3, 4))
    assert first == again != other
    for tokens, reason in [*first, *other]:
        assert reason == "stop"
        assert 1 <= json.loads(running.engine.tokenizer.decode(tokens))["stars"] <= 5


def test_a_constrained_answer_that_is_cut_says_so(running: Running) -> None:
    case, alone = running.constrained[0]
    sampling = Sampling(3, grammar=running.grammar)
    found = running.run(written(running.engine, case.generation(sampling)))
    assert found == (list(alone[:3]), "length")


def test_choices_of_one_context_are_what_each_is_alone(running: Running) -> None:
    case = running.cases[-1]
    seeds = [Sampling(8, temperature=1.0, top_p=0.9, seed=seed) for seed in range(3)]
    requests = [case.generation(sampling) for sampling in (*seeds, Sampling(NEW_TOKENS))]

    async def together() -> list[Any]:
        return await asyncio.gather(*map(told, running.engine.generate_choices(requests)))

    choices = running.run(together())
    assert choices == [running.run(written(running.engine, request)) for request in requests]
    assert tuple(choices[-1][0]) == case.answer
    assert len({tuple(tokens) for tokens, _ in choices[:3]}) > 1


def test_choices_that_nobody_waits_for_end(running: Running) -> None:
    requests = [running.cases[0].generation(Sampling(100, temperature=1.0))] * 3

    async def leave() -> None:
        choices: list[Any] = running.engine.generate_choices(requests)
        await anext(choices[1])
        for choice in choices:
            await choice.aclose()

    running.run(leave())
    assert running.run(wrongly_written(running.engine, running.cases[:4])) == []


def test_the_likeliest_tokens_come_with_each(running: Running) -> None:
    case = next(c for c in running.cases if len(c.answer) == NEW_TOKENS)
    sampling = Sampling(NEW_TOKENS, top_logprobs=5)
    other = Sampling(NEW_TOKENS, temperature=1.0, seed=1, top_logprobs=2)

    async def both() -> tuple[list[Any], list[Any]]:
        asked = [tokens_of(running.engine, case.generation(each)) for each in (sampling, other)]
        first, second = await asyncio.gather(*asked)
        return first, second

    greedy, drawn_ = running.run(both())
    assert tuple(token.id for token in greedy) == case.answer
    for token in greedy:
        logs = [log for _, log in token.top]
        assert len(logs) == 5 and logs == sorted(logs, reverse=True)
        assert token.top[0] == (token.id, pytest.approx(token.logprob, abs=1e-6))
    assert {len(token.top) for token in drawn_} == {2}
    assert all(token.logprob <= token.top[0][1] for token in drawn_)


def test_the_models_own_end_is_a_stop(running: Running) -> None:
    ended = [case for case in running.cases if len(case.answer) < NEW_TOKENS]
    for case in ended:
        _, reason = running.run(written(running.engine, case.generation()))
        assert reason == "stop"
    whole = next(case for case in running.cases if len(case.answer) == NEW_TOKENS)
    assert running.run(written(running.engine, whole.generation()))[1] == "length"


def test_equal_ids_under_other_vectors_are_not_mistaken(running: Running) -> None:
    """Digests part prompts, even where rows and lengths are the same and one was just dropped."""
    case = next(c for c in running.cases if c.prompt and c.prompt.injection.length == 32)
    assert case.prompt is not None
    other = next(
        c
        for c in running.cases
        if c.prompt and c.prompt.injection.length == 32 and c.digest != case.digest
    )
    assert other.prompt is not None

    async def ask(prompt: Held) -> list[float]:
        await running.engine.hold(prompt)
        found = await running.engine.score([replace(case, prompt=prompt).scoring()])
        await running.engine.drop(prompt.digest)
        return found[0]

    renamed = Held("0" * 64, other.prompt.injection)
    own, strange, again = (running.run(ask(p)) for p in (case.prompt, renamed, case.prompt))
    assert max(abs(a - b) for a, b in zip(own, case.scores, strict=True)) <= TOLERANCE
    assert max(abs(a - b) for a, b in zip(own, strange, strict=True)) > 1e-2
    assert again == pytest.approx(own, abs=TOLERANCE)


def test_a_row_that_does_not_fit_fails_alone(running: Running) -> None:
    case = running.cases[-1]
    long = replace(case, row=Encoded((5,) * 300, ()))

    async def both() -> tuple[Any, Any]:
        good = running.engine.score([case.scoring()])
        bad = running.engine.score([long.scoring()])
        found = await asyncio.gather(good, bad, return_exceptions=True)
        return found[0], found[1]

    good, bad = running.run(both())
    assert isinstance(bad, CuecardError)
    assert good[0] == pytest.approx(case.scores, abs=TOLERANCE)
    with pytest.raises(CuecardError):
        running.run(written(running.engine, long.generation()))
    with pytest.raises(CuecardError):
        running.run(written(running.engine, case.generation(Sampling(300))))


def test_a_stream_closed_at_once_leaves_nothing_behind(running: Running) -> None:
    async def hang_up() -> list[int]:
        for _ in range(20):
            stream: Any = running.engine.generate(running.cases[0].generation())
            await anext(stream)
            await stream.aclose()
        tokens, _ = await written(running.engine, running.cases[0].generation())
        return tokens

    assert tuple(running.run(hang_up())) == running.cases[0].answer


def test_a_stream_ends_once(running: Running) -> None:
    async def all_of_it() -> list[Any]:
        return [piece async for piece in running.engine.generate(running.cases[0].generation())]

    pieces = running.run(all_of_it())
    assert [type(piece) for piece in pieces].count(Finished) == 1
    assert isinstance(pieces[-1], Finished)
