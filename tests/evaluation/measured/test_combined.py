"""What is expected of a way by measurements elsewhere and on the task's own rows."""

from __future__ import annotations

import pytest

from cuecard.comparison.contest.contenders import CONTENDERS
from cuecard.evaluation.measured.combined import ROWS_AS_ALL_ELSE, combined
from cuecard.evaluation.measured.nearest_tasks import PRIOR_BEHIND, WayEstimate
from cuecard.evaluation.measured.ways import BY_CONTESTANT, WAYS

ELSEWHERE = [WayEstimate("auto", 0.01, 9, 3.0), WayEstimate("lora", 0.03, 9, 3.0)]


def test_so_many_rows_count_as_all_else() -> None:
    here = {"auto": 0.7, "lora": 0.8}
    found = {e.way: e for e in combined(ELSEWHERE, here, ROWS_AS_ALL_ELSE)}
    assert found["auto"].behind == pytest.approx((0.01 + 0.1) / 2)
    assert found["lora"].behind == pytest.approx(0.03 / 2)
    assert (found["auto"].here, found["auto"].elsewhere) == (0.7, ELSEWHERE[0])


def test_few_rows_do_not_decide_and_many_do() -> None:
    here = {"auto": 0.77, "lora": 0.8}
    assert combined(ELSEWHERE, here, 4)[0].way == "auto"
    assert combined(ELSEWHERE, here, 400)[0].way == "lora"


def test_ways_of_one_side_alone() -> None:
    found = {e.way: e for e in combined(ELSEWHERE, {"lora": 0.8, "linear": 0.9}, 20)}
    assert found["auto"].behind == 0.01 and found["auto"].here is None
    assert found["linear"].behind == pytest.approx(PRIOR_BEHIND / 2)
    assert found["linear"].elsewhere is None
    assert [each.way for each in combined(ELSEWHERE, {}, 0)] == ["auto", "lora"]
    assert combined([], {}, 0) == []
    (alone,) = combined([], {"linear": 0.9}, 20)
    assert alone.behind == pytest.approx(PRIOR_BEHIND)


def test_the_best_of_what_was_seen_need_not_be_the_best() -> None:
    """Only what is bad elsewhere was reached: what was not is still expected to be better."""
    elsewhere = [
        *ELSEWHERE,
        WayEstimate("by hand", 0.12, 9, 3.0),
        WayEstimate("linear", 0.08, 9, 3),
    ]
    found = {e.way: e.behind for e in combined(elsewhere, {"by hand": 0.7, "linear": 0.66}, 40)}
    best = (0.7 + 0.12 + 0.66 + 0.08) / 2
    assert found["by hand"] == pytest.approx((0.12 + 2 * (best - 0.7)) / 3)
    assert min(found, key=lambda way: found[way]) == "auto"


def test_contestants_are_ways() -> None:
    assert set(BY_CONTESTANT.values()) <= WAYS.keys()
    assert {"majority", "start", "full"}.isdisjoint(BY_CONTESTANT)
    told = {name for name in CONTENDERS if name in BY_CONTESTANT}
    assert told >= {"tfidf", "zero-shot", "in-context", "auto", "prompt-tuning", "lora", "search"}
