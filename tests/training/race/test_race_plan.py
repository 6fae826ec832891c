"""How a budget becomes steps: plain arithmetic."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from cuecard.errors import ConfigError
from cuecard.training import TrainConfig
from cuecard.training.config import Budget
from cuecard.training.race.plan import Cost, RacePlan

EPOCH = {"a": 10, "b": 10, "c": 40}


def spent(plan: RacePlan, costs: dict[str, Cost], winner: str) -> float:
    race = sum(2 * costs[n].validation + plan.race_steps * costs[n].step for n in plan.racing)
    inputs = max(costs[n].inputs for n in plan.racing)
    return inputs + (race if plan.race_steps else 0) + plan.final_steps[winner] * costs[winner].step


@pytest.mark.parametrize("seconds", [40, 120, 1000])
def test_a_budget_in_seconds_is_kept(seconds: float) -> None:
    costs = {"a": Cost(0.3, 1, 6), "b": Cost(0.3, 1, 0), "c": Cost(1.0, 2, 0)}
    plan = RacePlan.of(Budget(seconds), costs, EPOCH)
    for name in plan.racing:
        assert spent(plan, costs, name) <= seconds
        used = spent(plan, costs, name) / seconds
        assert used > 0.6 or plan.final_steps[name] == EPOCH[name] * 60


def test_a_small_budget_races_fewer_and_a_tiny_one_none() -> None:
    costs = dict.fromkeys(EPOCH, Cost(0.5, 1, 0))
    counts = [len(RacePlan.of(Budget(s), costs, EPOCH).racing) for s in (20, 65, 400)]
    assert counts == [1, 2, 3]
    tiny = RacePlan.of(Budget(1), costs, EPOCH)
    assert (tiny.race_steps, tiny.racing) == (0, ("a",)) and tiny.final_steps["a"] == 10
    # One validation and ten steps of half a second.
    assert tiny.needs == 6 and RacePlan.of(Budget(9), costs, EPOCH).needs == 0


def test_a_budget_in_steps_counts_all_of_them() -> None:
    for total in (3, 90, 300):
        plan = RacePlan.of(Budget(None, total), {}, EPOCH)
        assert plan.race_steps * len(plan.racing) * bool(plan.race_steps) <= total / 3
        for steps in plan.final_steps.values():
            assert steps + plan.race_steps * len(plan.racing) == total or plan.race_steps == 0
    assert RacePlan.of(Budget(None, 3), {}, EPOCH).final_steps == {"a": 3}


def test_more_than_sixty_epochs_are_not_made() -> None:
    plan = RacePlan.of(Budget(1e6), dict.fromkeys(EPOCH, Cost(0.1, 1, 0)), EPOCH)
    assert plan.final_steps == {name: 60 * steps for name, steps in EPOCH.items()}


@pytest.mark.parametrize(
    ("text", "seconds", "steps"),
    [
        ("90s", 90, None),
        ("2m", 120, None),
        ("1.5 h", 5400, None),
        ("45", 45, None),
        ("300 steps", None, 300),
        ("1 step", None, 1),
    ],
)
def test_budgets_as_users_type_them(text: str, seconds: float | None, steps: int | None) -> None:
    assert Budget.parse(text) == Budget(seconds, steps)


@pytest.mark.parametrize("text", ["", "soon", "-2m", "0", "2.5 steps", "inf", "nan", "2d"])
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(ConfigError, match="not a budget"):
        TrainConfig(budget=text)


def test_plans_outlive_a_checkpoint() -> None:
    plan = RacePlan.of(Budget(None, 90), {}, EPOCH)
    assert RacePlan.of_dict(asdict(plan)) == plan
