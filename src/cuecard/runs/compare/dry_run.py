"""What a comparison would do, without training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cuecard.catalogue import Progress
from cuecard.comparison.contest.contender import Contender, Contest
from cuecard.comparison.contest.rates import rates_of
from cuecard.errors import ConfigError
from cuecard.evaluation.advice import advice
from cuecard.runs.compare.recipe import CompareRecipe
from cuecard.runs.compare.run import contests_of, set_up_comparison
from cuecard.runs.estimate import estimate_run


@dataclass(frozen=True)
class Entered:
    """A contestant in a dry run.

    Attributes:
        name: as in `--contestants`.
        parameters: how many numbers it trains; None where that is found by a race, and for one that
            is not trained by steps.
        rates: the learning rates it tries; empty where `parameters` is None.
        seconds: how long its trainings would take on this machine, about; None for one that is not
            trained by steps.
        why_not: why it would be left out; None where it would not.
    """

    name: str
    parameters: int | None = None
    rates: tuple[float, ...] = ()
    seconds: float | None = None
    why_not: str | None = None


@dataclass(frozen=True)
class ComparePlan:
    """A dry run of a comparison.

    Attributes:
        rows: training, validation and test rows of each contest.
        entered: the contestants, on the most rows.
        notes: what to mind about the data, in sentences.
    """

    folder: Path
    backbone: str
    steps: int
    rows: tuple[tuple[int, int, int], ...]
    entered: tuple[Entered, ...]
    notes: tuple[str, ...]


def plan_compare(
    plan: CompareRecipe, *, progress: Progress | None = None, overwrite: bool = False
) -> ComparePlan:
    """What a comparison would do; nothing is trained, and nothing written.

    Raises:
        CuecardError: what the comparison itself would refuse before its first contestant.
    """
    setup = set_up_comparison(plan, progress, overwrite=overwrite)
    contest = setup.contest
    contests = [one.task for one in contests_of(plan, contest, plan.folder)]
    return ComparePlan(
        plan.folder,
        contest.backbone.name,
        contest.config.steps,
        tuple((len(t.train), len(t.validation), len(t.test)) for t in contests),
        tuple(_entered(name, each, contest) for name, each in setup.contenders.items()),
        advice(contest.task),
    )


def _entered(name: str, contender: Contender, contest: Contest) -> Entered:
    try:
        setup = contender.setup(contest)
    except ConfigError as error:
        return Entered(name, why_not=error.what)
    if setup is None:
        return Entered(name)
    rates = rates_of(contest, setup)
    seconds = len(rates) * estimate_run(setup).seconds
    if contender.races:
        return Entered(name, seconds=seconds)
    count = sum(parameter.numel() for parameter in setup.start.parameters())
    return Entered(name, count, tuple(rates), seconds)
