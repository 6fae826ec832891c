"""How a budget is spent: how many steps each contestant races, and how many the best one makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from cuecard.training.config import Budget

# The share of the budget that a race may take, and how few and how many steps tell rates apart.
_RACE = 1 / 3
_FEWEST, _MOST = 16, 40
# A run's validations take about so much of its time.
_VALIDATING = 0.15
# More passes over the rows than this teach nothing more.
_EPOCHS = 60
_LEAST_STEPS = 10


@dataclass(frozen=True, slots=True)
class Cost:
    """What a contestant takes, in CPU seconds.

    Attributes:
        step: of an optimiser step.
        validation: of one on all validation rows.
        inputs: once, of keys and values that are cached.
    """

    step: float
    validation: float
    inputs: float


@dataclass(frozen=True)
class RacePlan:
    """What is run. It is made once, and kept: a resumed run makes the same steps.

    Attributes:
        racing: the contestants that race; one is alone, and does not.
        race_steps: steps of each in the race; 0 without one.
        final_steps: contestant -> the best one's steps after the race, if it is that one.
        needs: CPU seconds of what is run where that is more than the budget, else 0.
    """

    racing: tuple[str, ...]
    race_steps: int
    final_steps: Mapping[str, int]
    needs: float = 0.0

    @classmethod
    def of(cls, budget: Budget, costs: Mapping[str, Cost], epoch: Mapping[str, int]) -> Self:
        """Spend a budget.

        Args:
            costs: of every contestant, in their order; empty for a budget in steps.
            epoch: contestant -> steps of one pass over the training rows.
        """
        names = tuple(epoch)
        if budget.steps is not None:
            return cls._of_steps(budget.steps, names, epoch)
        assert budget.seconds is not None
        for count in range(len(names), 0, -1):
            racing = names[:count]
            left = budget.seconds - max(costs[name].inputs for name in racing)
            for_race = left * _RACE - 2 * sum(costs[name].validation for name in racing)
            steps = int(min(_MOST, for_race / sum(costs[name].step for name in racing)))
            if count == 1 or steps >= _FEWEST:
                break
        if count == 1:
            steps, spent = 0, costs[names[0]].validation
        else:
            spent = sum(2 * costs[n].validation + steps * costs[n].step for n in racing)
        rest = max(left - spent, 0) * (1 - _VALIDATING)
        final = {n: _within(int(rest / costs[n].step), epoch[n]) for n in racing}
        before = budget.seconds - left + spent
        needs = before + max(final[n] * costs[n].step for n in racing)
        return cls(racing, steps, final, needs if needs > budget.seconds else 0.0)

    @classmethod
    def _of_steps(cls, total: int, names: tuple[str, ...], epoch: Mapping[str, int]) -> Self:
        count = max(1, min(len(names), int(total * _RACE) // _FEWEST))
        steps = min(_MOST, int(total * _RACE) // count) if count > 1 else 0
        left = total - steps * count
        return cls(names[:count], steps, {n: min(left, epoch[n] * _EPOCHS) for n in names[:count]})

    @classmethod
    def of_dict(cls, values: Mapping[str, Any]) -> Self:
        """From what a checkpoint keeps of it."""
        return cls(**{**values, "racing": tuple(values["racing"])})


def _within(steps: int, epoch: int) -> int:
    return max(_LEAST_STEPS, min(steps, epoch * _EPOCHS))
