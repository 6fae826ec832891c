"""Several answers that go on from one context, which runs once."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from cuecard.engine.local.packed_worker import PackedWorker
from cuecard.engine.local.requests import ForkedRequest, GenerateRequest
from cuecard.engine.local.settings import LocalSettings
from cuecard.engine.protocol import Finished, Generation
from cuecard.errors import BackboneError, EngineError
from support.serving.requests import held, tokens, writing, written_alone
from support.tiny import tiny_backbone

IDS = tokens(1, 30)


@pytest.fixture(scope="module")
def backbone() -> Any:
    return tiny_backbone()


def worker(backbone: Any, **settings: Any) -> PackedWorker:
    return PackedWorker(backbone, backbone.ragged, LocalSettings(**settings))


def forked(*requests: Generation) -> ForkedRequest:
    return ForkedRequest(
        [GenerateRequest(each, frozenset({2}), lambda _: None) for each in requests]
    )


def answers(found: PackedWorker, call: ForkedRequest) -> list[list[Any]]:
    """What each answer is told, until nothing is left to do."""
    said: defaultdict[Any, list[Any]] = defaultdict(list)
    while found.busy:
        for one, item in found.step():
            said[one].append(item if isinstance(item, Finished | Exception) else item.id)
    return [said[answer] for answer in call.choices]


def alone(backbone: Any, asked: Generation) -> list[Any]:
    ids = written_alone(backbone, asked)
    return [*ids, Finished("length" if len(ids) == asked.sampling.max_new_tokens else "stop")]


def test_the_context_runs_once(backbone: Any) -> None:
    asked = writing(held(1), IDS, count=6)
    once, thrice = worker(backbone), worker(backbone)
    one, three = forked(asked), forked(asked, asked, asked)
    once.add(one)
    thrice.add(three)
    assert answers(once, one) * 3 == answers(thrice, three) == [alone(backbone, asked)] * 3
    context = 8 + len(IDS)
    decoded = once.stats()["tokens_computed"] - context
    assert thrice.stats()["tokens_computed"] == context + 3 * decoded


def test_answers_without_room_begin_when_others_end(backbone: Any) -> None:
    asked = [writing(held(1), IDS, count=count) for count in (3, 5, 4, 2, 6)]
    found, call = worker(backbone, max_num_seqs=2), forked(*asked)
    later = GenerateRequest(writing(None, IDS, count=2), frozenset({2}), lambda _: None)
    found.add(call)
    found.add(later)
    live = 0
    said: defaultdict[Any, list[Any]] = defaultdict(list)
    while found.busy:
        for one, item in found.step():
            said[one].append(item if isinstance(item, Finished) else item.id)
        live = max(live, int(found.stats()["writing_rows"]))
    assert live == 2
    assert [said[one] for one in call.choices] == [alone(backbone, each) for each in asked]
    assert said[later] == alone(backbone, writing(None, IDS, count=2))
    assert found.stats()["answer_bytes"] == 0


def test_those_that_nobody_waits_for_are_left_out(backbone: Any) -> None:
    asked = writing(held(1), IDS, count=4)
    found, call = worker(backbone, max_num_seqs=2), forked(*[asked] * 4)
    found.add(call)
    call.choices[0].cancelled = call.choices[3].cancelled = True
    expected = alone(backbone, asked)
    assert answers(found, call) == [[], expected, expected, []]
    assert found.stats()["prompt_cache_pinned_bytes"] == 0
    gone = forked(asked, asked)
    found.add(gone)
    for answer in gone.choices:
        answer.cancelled = True
    before = found.stats()["passes"]
    assert answers(found, gone) == [[], []]
    assert found.stats()["passes"] == before


def test_an_error_is_told_to_each(backbone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found, call = worker(backbone), forked(*[writing(None, IDS, count=300)] * 2)
    found.add(call)
    assert [[type(item) for item in told] for told in answers(found, call)] == [[BackboneError]] * 2

    def fails(*args: Any, **options: Any) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(backbone.ragged, "run", fails)
    call = forked(*[writing(None, IDS, count=3)] * 2)
    found.add(call)
    assert [[type(item) for item in told] for told in answers(found, call)] == [[EngineError]] * 2
    call = forked(*[writing(None, IDS, count=3)] * 2)
    found.add(call)
    events = found.fail_all(EngineError("the engine was closed"))
    assert [one for one, _ in events] == list(call.choices)
    assert not found.busy
