"""How a budget is spent: how many steps each contestant races, and how many the best one makes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Self

from cuecard.training.config import Budget

# The share of the budget that a race may take, and how few and how many steps tell rates apart.
_RACE = 1 / 3
_FEWEST, _MOST = 16, 40
# The share of the budget that computing inputs once may take, and that of validation rows' alone;
# they decide how many rows are used.
_INPUTS, _VALIDATION_INPUTS = 0.4, 0.1
# The share of the budget that the race's validations may take, and the best one's; how many it has.
_VALIDATING, _LOOKING = 0.2, 0.1
_FEWEST_LOOKS, _MOST_LOOKS = 2, 10
# A run on fewer rows than this says little, whatever the budget.
_FEWEST_ROWS = 64
# More passes over the rows than this teach nothing more.
_EPOCHS = 60
_LEAST_STEPS = 10


@dataclass(frozen=True, slots=True)
class Cost:
    """What a contestant takes, in CPU seconds.

    Attributes:
        step: of an optimiser step.
        validation: of one on all validation rows and all labels.
        brief: of one on all validation rows and each row's own label alone.
        inputs: once, of keys and values that are cached.
        fit: once, of what a head is fitted to.
    """

    step: float
    validation: float
    brief: float
    inputs: float
    fit: float = 0.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many rows a race could use, and a contestant's rows in a step.

    Attributes:
        runs: how many the best one makes after the race, one for each seed.
    """

    train: int
    validation: int
    batch: Mapping[str, int]
    runs: int = 1

    def epoch(self, name: str, rows: int) -> int:
        """Steps of one pass over so many rows."""
        return math.ceil(rows / self.batch[name])


@dataclass(frozen=True)
class RacePlan:
    """What is run. It is made once, and kept: a resumed run makes the same steps.

    Attributes:
        racing: the contestants that race; one is alone, and does not.
        race_steps: steps of each in the race; 0 without one.
        final_steps: contestant -> the best one's steps after the race, if it is that one.
        rows, validation_rows: how many training and validation rows are used.
        looks: validations of the best one after the race; None as in a run without a race.
        brief: whether validations read the rows' own labels alone, since all are too many.
        needs: CPU seconds of what is run where that is more than the budget, else 0.
    """

    racing: tuple[str, ...]
    race_steps: int
    final_steps: Mapping[str, int]
    rows: int
    validation_rows: int
    looks: int | None = None
    brief: bool = False
    needs: float = 0.0

    @classmethod
    def of(
        cls,
        budget: Budget,
        cost_of: Callable[[str], Cost],
        sizes: Sizes,
        spent: Callable[[], float] = lambda: 0.0,
    ) -> RacePlan:
        """Spend a budget.

        Args:
            cost_of: times a contestant; asked for those alone that there may be room for.
            spent: seconds that are gone already.
        """
        names = tuple(sizes.batch)
        if budget.steps is not None:
            return cls._of_steps(budget.steps, names, sizes)
        costs: dict[str, Cost] = {}
        found: _Spending | None = None
        for name in names:
            costs[name] = cost_of(name)
            assert budget.seconds is not None
            spending = _Spending.of(budget.seconds - spent(), dict(costs), sizes)
            if found is not None and spending.race_steps < _FEWEST:
                break
            found = spending
            # A second one is there to find the rate; more of them only in a long race.
            if len(costs) > 1 and found.race_steps < _MOST:
                break
        assert found is not None
        return found.plan(sizes)

    @classmethod
    def _of_steps(cls, total: int, names: tuple[str, ...], sizes: Sizes) -> RacePlan:
        count = max(1, min(len(names), int(total * _RACE) // _FEWEST))
        steps = min(_MOST, int(total * _RACE) // count) if count > 1 else 0
        left = max(1, (total - steps * count) // sizes.runs)
        final = {n: min(left, sizes.epoch(n, sizes.train) * _EPOCHS) for n in names[:count]}
        return cls(names[:count], steps, final, sizes.train, sizes.validation)

    @classmethod
    def of_dict(cls, values: Mapping[str, Any]) -> Self:
        """From what a checkpoint keeps of it."""
        return cls(**{**values, "racing": tuple(values["racing"])})


@dataclass(frozen=True)
class _Spending:
    """A budget in seconds with so many contestants.

    Attributes:
        left: seconds that are left once the inputs are computed and the heads fitted.
        look: of one validation of each contestant.
        once: of the validations before any step: of those that start alike, one.
    """

    seconds: float
    costs: Mapping[str, Cost]
    rows: int
    validation_rows: int
    brief: bool
    left: float
    look: Mapping[str, float]
    once: float

    @classmethod
    def of(cls, seconds: float, costs: Mapping[str, Cost], sizes: Sizes) -> Self:
        seconds = max(seconds, 0.0)
        inputs = max(cost.inputs for cost in costs.values())
        of_row = inputs / (sizes.train + sizes.validation)
        allowed = _VALIDATING * (seconds - min(inputs, _INPUTS * seconds))

        def looks(of_one: Callable[[Cost], float]) -> float:
            """On all rows: the starts', and each contestant's at the end of the race."""
            return sum(map(of_one, costs.values())) + sum(map(of_one, set(costs.values())))

        whole, own = attrgetter("validation"), attrgetter("brief")
        brief = looks(whole) > allowed > 0 and looks(own) < looks(whole) / 2
        of_one = own if brief else whole
        validation_rows = _some(
            sizes.validation,
            _share(allowed, looks(of_one)) * sizes.validation,
            _share(_VALIDATION_INPUTS * seconds, of_row),
        )
        rows = _some(sizes.train, _share(_INPUTS * seconds, of_row) - validation_rows)
        part = validation_rows / sizes.validation
        look = {name: of_one(cost) * part for name, cost in costs.items()}
        fits = sum(cost.fit for cost in set(costs.values())) * rows / sizes.train
        return cls(
            seconds,
            costs,
            rows,
            validation_rows,
            brief,
            seconds - of_row * (rows + validation_rows) - fits,
            look,
            sum({cost: look[name] for name, cost in costs.items()}.values()),
        )

    @property
    def race_steps(self) -> int:
        """Steps of each contestant in a race that takes no more than its share."""
        for_race = self.left * _RACE - self.once - sum(self.look.values())
        return max(0, int(min(_MOST, for_race / sum(cost.step for cost in self.costs.values()))))

    def plan(self, sizes: Sizes) -> RacePlan:
        steps = self.race_steps if len(self.costs) > 1 else 0
        spent = self.once
        if steps:
            spent += sum(self.look[n] + steps * cost.step for n, cost in self.costs.items())
        rest = max(self.left - spent, 0)
        dearest = max(self.look.values()) * sizes.runs
        looks = int(_LOOKING * rest / dearest) if dearest else _MOST_LOOKS
        looks = max(_FEWEST_LOOKS, min(looks, _MOST_LOOKS))
        rest -= looks * dearest
        final = {
            name: max(
                _LEAST_STEPS,
                min(int(rest / cost.step / sizes.runs), sizes.epoch(name, self.rows) * _EPOCHS),
            )
            for name, cost in self.costs.items()
        }
        needs = self.seconds - self.left + spent + looks * dearest
        needs += max(final[n] * cost.step * sizes.runs for n, cost in self.costs.items())
        return RacePlan(
            tuple(self.costs),
            steps,
            final,
            self.rows,
            self.validation_rows,
            looks,
            self.brief,
            needs if needs > self.seconds else 0.0,
        )


def _share(allowed: float, whole: float) -> float:
    return allowed / whole if whole else math.inf


def _some(rows: int, *paid_for: float) -> int:
    """As many of the rows as are paid for, but not too few."""
    return int(max(min(rows, _FEWEST_ROWS), min(rows, *paid_for)))
