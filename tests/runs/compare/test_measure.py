"""What a contest of some minutes is planned to do."""

from __future__ import annotations

import pytest

from cuecard.comparison.contest.contenders import CONTENDERS
from cuecard.errors import ConfigError
from cuecard.evaluation.measured import Recommendation
from cuecard.evaluation.measured.nearest_tasks import WayEstimate
from cuecard.runs.compare.measure import (
    CHEAP,
    TrainingCost,
    likely,
    measure_and_advise,
    steps_within,
)
from cuecard.runs.recipe import Recipe


def test_the_likely_ones_are_those_that_are_expected_first() -> None:
    ways = [
        "linear",
        "lora",
        "wayward",
        "auto",
        "by hand",
        "search",
        "dept",
        "residual",
        "p-tuning",
    ]
    expected = tuple(WayEstimate(way, 0.01 * n, 1, 1.0) for n, way in enumerate(ways))
    found = likely(Recommendation(None, "linear", expected, (), ()))
    assert found == ("lora", "auto", "search", "dept", "residual")
    assert not {*found} & {*CHEAP} and {*found, *CHEAP} <= CONTENDERS.keys()
    assert likely(Recommendation(None, "auto", (), (), ())) == ("auto", "prompt-tuning", "lora")


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf")])
def test_what_is_no_time_is_refused_before_anything_is_read(minutes: float) -> None:
    recipe = Recipe.model_validate({"data": {"path": "none.csv"}})
    with pytest.raises(ConfigError, match="not a time"):
        measure_and_advise(recipe, minutes, 60.0)


def test_steps_are_those_that_there_is_time_for() -> None:
    costs = [TrainingCost(step=1.0, rest=10.0), TrainingCost(2.0, 10.0), TrainingCost(3.0, 10.0)]
    assert steps_within(costs, 30 + 6 * 100, most=300) == 100
    assert steps_within(costs, 30 + 6 * 400, most=300) == 300
    # Not enough for all three: for two, then for one, and no fewer steps than tell anything.
    assert steps_within(costs, 30 + 3 * 50, most=300) == 53
    assert steps_within(costs, 10 + 45, most=300) == 45
    assert steps_within(costs, 1, most=300) == steps_within([], 1, most=300) == 40
    assert steps_within(costs, 1, most=8) == 8
