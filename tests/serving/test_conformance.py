"""Each engine's answers are those got alone; see serving_conformance."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from cuecard.backbones import load_frozen
from cuecard.errors import CuecardError
from cuecard.serving.engine import Engine, Finished, Held, Sampling
from cuecard.types import Encoded, InputTokens, PrefixKV
from serving_cases import NEW_TOKENS, Case, make_cases
from serving_conformance import churned, drawn, scored, written, wrongly_written
from serving_kinds import KINDS, Kind, at_work
from serving_llama import save_tiny_llama

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Running:
    """An engine at work, its loop, and what to ask it."""

    engine: Engine
    run: Callable[[Any], Any]
    cases: list[Case]
    kind: Kind


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_frozen(save_tiny_llama(tmp_path_factory.mktemp("llama") / "tiny"), dtype="fp32")


@pytest.fixture(scope="module", params=KINDS)
def running(request: pytest.FixtureRequest, backbone: Any) -> Iterator[Running]:
    kind = KINDS[request.param]
    kind.needed()
    cases = make_cases(backbone, prefix_kv=kind.prefix_kv)
    with at_work(kind, backbone) as (engine, run):
        yield Running(engine, run, cases, kind)


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
    long = replace(case, row=Encoded((5,) * 300, (), 0))

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
