"""Which rows run in which pass, and what with them."""

from __future__ import annotations

from typing import Any

import pytest

from cuecard.engine.local.packed_worker import PackedWorker
from cuecard.engine.local.requests import GenerateRequest, Request, ScoreRequest
from cuecard.engine.local.settings import LocalSettings
from cuecard.engine.protocol import Finished, Held, Scoring
from cuecard.errors import BackboneError
from cuecard.types import InputTokens, LayerTokens
from support.serving.requests import (
    LONGER,
    ONE_TOKEN,
    held,
    noise,
    scored_alone,
    scoring,
    tokens,
    writing,
    written_alone,
)
from support.tiny import tiny_backbone


def worker(backbone: Any, **settings: Any) -> PackedWorker:
    return PackedWorker(backbone, backbone.ragged, LocalSettings(**settings))


def asked(*rows: Scoring) -> ScoreRequest:
    return ScoreRequest(rows, lambda _: None)


def told(found: PackedWorker) -> dict[Request, Any]:
    """What one pass gave."""
    return dict(found.step())


def finished(found: PackedWorker) -> dict[Request, Any]:
    """What all passes gave."""
    answers: dict[Request, Any] = {}
    while found.busy:
        answers |= told(found)
    return answers


def close(found: list[float], expected: list[float]) -> bool:
    return all(abs(a - b) <= 1e-4 for a, b in zip(found, expected, strict=True))


def keep(found: PackedWorker, one: Held) -> None:
    """Have a prompt's keys and values computed."""
    found.add(asked(scoring(one, tokens(99, 3), words=ONE_TOKEN)))
    finished(found)


@pytest.mark.parametrize("words", [ONE_TOKEN, LONGER])
@pytest.mark.parametrize("deep", [False, True])
def test_a_new_prompt_runs_with_its_row(words: Any, deep: bool) -> None:
    backbone = tiny_backbone()
    layers = LayerTokens(noise(4, 2, 20, 32))
    one = Held("deep", layers) if deep else held(1, 20)
    found, row = worker(backbone), scoring(one, tokens(1, 9), words=words)
    call = asked(row)
    found.add(call)
    (scores,) = told(found)[call]
    assert close(scores, scored_alone(backbone, row))
    stats = found.stats()
    more = sum(len(word) - 1 for word in words)
    assert (stats["passes"], stats["tokens_computed"]) == (1, 29 + more)
    assert (stats["prompts_computed"], stats["prompt_cache_entries"]) == (1, 1)
    other = scoring(one, tokens(2, 5), words=words)
    call = asked(other)
    found.add(call)
    assert close(told(found)[call][0], scored_alone(backbone, other))
    assert found.stats()["tokens_computed"] == 29 + more + 5 + more
    assert found.stats()["prompt_cache_pinned_bytes"] == 0


def test_its_other_rows_come_in_the_next_pass() -> None:
    backbone = tiny_backbone()
    rows = [scoring(held(1, 20), tokens(seed, 9)) for seed in range(4)]
    found, call = worker(backbone), asked(*rows)
    found.add(call)
    assert told(found) == {}
    assert found.stats()["rows_batched"] == 1
    answers = told(found)[call]
    for row, scores in zip(rows, answers, strict=True):
        assert close(scores, scored_alone(backbone, row))
    assert found.stats()["prompts_computed"] == 1


def test_a_request_queues_until_its_first_pass() -> None:
    found = worker(tiny_backbone(), max_num_batched_tokens=40)
    for seed in range(3):
        found.add(asked(scoring(None, tokens(seed, 30))))
    seen = []
    while found.busy:
        told(found)
        seen.append((found.stats()["requests_begun"], found.stats()["queue_seconds"]))
    assert [begun for begun, _ in seen] == sorted(begun for begun, _ in seen)
    assert seen[0][0] < 3 and seen[-1][0] == 3
    assert 0 < seen[0][1] < seen[-1][1]


@pytest.mark.parametrize("max_num_batched_tokens", [16, 24, 30, 56, 60])
def test_a_row_that_is_too_long_goes_on_behind_its_prompt(max_num_batched_tokens: int) -> None:
    """The prompt is never cut; behind it stands nothing, or the first part of its row."""
    backbone = tiny_backbone()
    row = scoring(held(1, 20), tokens(1, 90))
    found, call = worker(backbone, max_num_batched_tokens=max_num_batched_tokens), asked(row)
    found.add(call)
    told(found)
    first = found.stats()["tokens_computed"]
    assert first == (20 if max_num_batched_tokens < 20 + 32 else max_num_batched_tokens)
    assert close(finished(found)[call][0], scored_alone(backbone, row))


def test_a_new_prompts_answer_is_written_as_alone() -> None:
    backbone = tiny_backbone()
    request = writing(held(1, 20), tokens(1, 9))
    found, call = worker(backbone), GenerateRequest(request, frozenset(), lambda _: None)
    found.add(call)
    items = []
    while found.busy:
        items += [item.id for _, item in found.step() if not isinstance(item, Finished)]
    assert items == written_alone(backbone, request)
    assert found.stats()["passes"] == len(items)  # the first token came with the prompt


def test_a_beginning_that_outlived_its_prompt_waits_for_it() -> None:
    """Keys and values of a template's text stand behind those of the prompt, wherever they are."""
    backbone = tiny_backbone()
    template, one = tokens(0, 12), held(1, 20)
    each = backbone.ragged.shape.token_bytes
    found = worker(backbone, cache_bytes=130 * each)
    rows = [scoring(one, template + tokens(seed, 5)) for seed in range(1, 7)]
    for row in rows:
        found.add(asked(row))
        finished(found)
    assert found.stats()["prompt_cache_bytes"] == 32 * each
    large = held(2, 100)  # what was used longest ago goes: the prompt
    keep(found, large)
    assert found.stats()["prompt_cache_evictions"] == 1
    call = asked(rows[0])
    found.add(call)
    assert close(finished(found)[call][0], scored_alone(backbone, rows[0]))


def test_rows_of_new_prompts_need_not_queue() -> None:
    backbone = tiny_backbone()
    known = held(0)
    found = worker(backbone, max_num_batched_tokens=64)
    keep(found, known)
    queue = [asked(scoring(known, tokens(seed, 16), words=ONE_TOKEN)) for seed in range(12)]
    for call in queue:
        found.add(call)
    row = scoring(held(1), tokens(50, 8), words=ONE_TOKEN)
    late, last = asked(row), asked(scoring(known, tokens(51, 8), words=ONE_TOKEN))
    found.add(late)
    found.add(last)
    first = told(found)
    assert late in first and last not in first
    assert close(first[late][0], scored_alone(backbone, row))
    assert sum(call in first for call in queue) == 3  # 16 of 64 tokens were taken


def test_new_prompts_leave_most_of_a_pass_to_others() -> None:
    """However many come at once."""
    found, known = worker(tiny_backbone(), max_num_batched_tokens=64), held(0)
    keep(found, known)
    queue = [asked(scoring(known, tokens(seed, 8), words=ONE_TOKEN)) for seed in range(12)]
    late = [asked(scoring(held(9 + seed), tokens(seed, 8))) for seed in range(30)]
    for call in (*queue, *late):
        found.add(call)
    first = told(found)
    assert sum(call in first for call in late) == 1
    assert sum(call in first for call in queue) >= 4
    assert len(finished(found)) == 42 - len(first)


def test_a_prompt_that_does_not_fit_is_refused() -> None:
    with pytest.raises(BackboneError, match="fit"):
        worker(tiny_backbone()).check_prompt(Held("wide", InputTokens(noise(1, 4, 33))))
