"""How a budget becomes steps: plain arithmetic."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from cuecard.errors import ConfigError
from cuecard.training import TrainConfig
from cuecard.training.config import Budget
from cuecard.training.race.plan import Cost, RacePlan, Sizes

SIZES = Sizes(train=320, validation=200, batch={"a": 32, "b": 32, "c": 8})


def unasked(name: str) -> Cost:
    raise AssertionError(f"{name} was timed for a budget in steps")


def spent(plan: RacePlan, costs: dict[str, Cost], winner: str) -> float:
    """As the runner spends it: equal costs stand for contestants that start alike."""
    part = plan.validation_rows / SIZES.validation
    look = {n: part * (costs[n].brief if plan.brief else costs[n].validation) for n in plan.racing}
    starts = sum({costs[n]: look[n] for n in plan.racing}.values())
    race = sum(look[n] + plan.race_steps * costs[n].step for n in plan.racing)
    share = (plan.rows + plan.validation_rows) / (SIZES.train + SIZES.validation)
    inputs = share * max(costs[n].inputs for n in plan.racing)
    final = plan.final_steps[winner] * costs[winner].step + (plan.looks or 0) * look[winner]
    return inputs + starts + race * bool(plan.race_steps) + final


@pytest.mark.parametrize("seconds", [40, 120, 1000])
def test_a_budget_in_seconds_is_kept(seconds: float) -> None:
    costs = {"a": Cost(0.3, 1, 1, 6), "b": Cost(0.3, 1, 1, 0), "c": Cost(1.0, 2, 2, 0)}
    plan = RacePlan.of(Budget(seconds), costs.__getitem__, SIZES)
    assert (plan.rows, plan.validation_rows, plan.brief) == (320, 200, False)
    for name in plan.racing:
        assert spent(plan, costs, name) <= seconds
        used = spent(plan, costs, name) / seconds
        most = SIZES.epoch(name, plan.rows) * 60
        assert used > 0.6 or plan.final_steps[name] == most


def test_inputs_take_two_fifths_at_most() -> None:
    costs = dict.fromkeys(SIZES.batch, Cost(0.3, 1, 1, 100))
    plan = RacePlan.of(Budget(100), costs.__getitem__, SIZES)
    assert (plan.rows, plan.validation_rows) == (208 - 64, 64)
    assert 80 < spent(plan, costs, "a") <= 100
    plan = RacePlan.of(Budget(10), costs.__getitem__, SIZES)
    assert (plan.rows, plan.validation_rows) == (64, 64) and plan.needs > 10
    assert RacePlan.of(Budget(1000), costs.__getitem__, SIZES).rows == SIZES.train


def test_validations_take_a_fifth_at_most() -> None:
    costs = dict.fromkeys(SIZES.batch, Cost(0.3, 30, 30, 0))
    plan = RacePlan.of(Budget(100), costs.__getitem__, SIZES)
    assert plan.rows == SIZES.train and 64 <= plan.validation_rows < 100 and not plan.brief
    assert plan.looks == 2
    costs = dict.fromkeys(SIZES.batch, Cost(0.3, 30, 1, 0))
    plan = RacePlan.of(Budget(100), costs.__getitem__, SIZES)
    assert plan.brief and plan.validation_rows == SIZES.validation and plan.looks == 6
    assert not RacePlan.of(Budget(1000), costs.__getitem__, SIZES).brief


def test_a_small_budget_races_fewer_and_a_tiny_one_none() -> None:
    costs = dict.fromkeys(SIZES.batch, Cost(0.5, 1, 1, 0))
    counts = [
        len(RacePlan.of(Budget(s), costs.__getitem__, SIZES).racing) for s in (20, 65, 120, 400)
    ]
    assert counts == [1, 2, 2, 3]
    tiny = RacePlan.of(Budget(1), costs.__getitem__, SIZES)
    assert (tiny.race_steps, tiny.racing) == (0, ("a",)) and tiny.final_steps["a"] == 10
    # Three validations of a part of the rows and ten steps of half a second.
    assert 5.9 < tiny.needs < 6 and RacePlan.of(Budget(9), costs.__getitem__, SIZES).needs == 0


def test_only_what_there_may_be_room_for_is_timed() -> None:
    timed: list[str] = []

    def cost_of(name: str) -> Cost:
        timed.append(name)
        return Cost(0.5, 1, 1, 0)

    assert len(RacePlan.of(Budget(65), cost_of, SIZES).racing) == 2 and timed == ["a", "b"]
    # What is gone already is not there to be spent.
    assert RacePlan.of(Budget(400), cost_of, SIZES, spent=lambda: 335.0).racing == ("a", "b")


def test_a_budget_in_steps_counts_all_of_them() -> None:
    for total in (3, 90, 300):
        plan = RacePlan.of(Budget(None, total), unasked, SIZES)
        assert plan.race_steps * len(plan.racing) * bool(plan.race_steps) <= total / 3
        for steps in plan.final_steps.values():
            assert steps + plan.race_steps * len(plan.racing) == total or plan.race_steps == 0
    assert RacePlan.of(Budget(None, 3), unasked, SIZES).final_steps == {"a": 3}


def test_more_than_sixty_epochs_are_not_made() -> None:
    plan = RacePlan.of(Budget(1e6), lambda name: Cost(0.1, 1, 1, 0), SIZES)
    assert plan.final_steps == {name: 60 * SIZES.epoch(name, 320) for name in SIZES.batch}


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
    plan = RacePlan.of(Budget(None, 90), unasked, SIZES)
    assert RacePlan.of_dict(asdict(plan)) == plan
