"""Train at a few learning rates, and keep the run with the lowest validation loss."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from cuecard.comparison.contest.contender import Contest
from cuecard.errors import TrainingError
from cuecard.training.objective.validation import Validation
from cuecard.training.setup import TrainSetup
from cuecard.training.trainables.trainable import Trainable


class ScoredRun(Protocol):
    """A finished run, of whatever was trained."""

    @property
    def validation(self) -> Validation: ...

    @property
    def cpu_seconds(self) -> float: ...

    @property
    def seconds(self) -> float: ...


R = TypeVar("R", bound=ScoredRun)

FACTORS = (1.0, 3.0, 0.3, 10.0, 0.1)
"""Of the default rate of what is trained, in the order in which they are tried."""


class AllDivergedError(TrainingError):
    """The training diverged at every learning rate."""


TrainAt = Callable[[TrainSetup, Path | None], R]
"""Trains from a set-up, in a folder."""


@dataclass(frozen=True)
class Tried(Generic[R]):
    """Runs at several rates.

    Attributes:
        best: the run with the lowest validation loss.
        losses: rate -> validation loss; None where it diverged.
        cpu_seconds, seconds: of all of them.
    """

    best: R
    losses: Mapping[float, float | None]
    cpu_seconds: float
    seconds: float


def setup_of(contest: Contest, trainable: Trainable) -> TrainSetup:
    """A training of this at its default rate, or the given one.

    All validate as often, so that each chooses among as many steps.

    Raises:
        ConfigError, DataError: as `TrainSetup.of`.
    """
    backbone, config = contest.backbone, contest.config
    return TrainSetup.of(backbone, contest.unsealed, trainable, config, fixed_validations=True)


def rates_of(contest: Contest, setup: TrainSetup) -> list[float]:
    """The rates that are tried, the default one first; a rate that is given is the only one."""
    peak = setup.peak_lr
    factors = FACTORS[: contest.rates] if setup.config.lr is None else FACTORS[:1]
    return [peak if factor == 1 else float(f"{peak * factor:.3g}") for factor in factors]


def best_rate(contest: Contest, setup: TrainSetup, train: TrainAt[R]) -> Tried[R]:
    """Train at each rate; a run that is finished in the contender's folder is read.

    Raises:
        AllDivergedError: at every rate.
        TrainingError: a folder holds another run.
    """
    losses: dict[float, float | None] = {}
    runs: list[R] = []
    cpu, wall = 0.0, 0.0
    rates = rates_of(contest, setup)
    for rate in rates:
        config = setup.config.model_copy(update={"lr": rate})
        # Each starts from numbers of its own: they are trained in place.
        made = replace(setup, config=config, start=setup.new_method())
        folder = None if contest.folder is None else contest.folder / f"lr-{rate:g}"
        if folder is not None:
            made.fits(folder)
        began = time.process_time(), time.perf_counter()
        contest.tell({"event": "rate", "lr": rate, "of": rates})
        try:
            run = train(made, folder)
        except TrainingError as error:
            losses[rate] = None
            contest.tell({"event": "rate_diverged", "lr": rate, "what": str(error)})
            cpu += time.process_time() - began[0]
            wall += time.perf_counter() - began[1]
            continue
        losses[rate] = run.validation.loss
        cpu, wall = cpu + run.cpu_seconds, wall + run.seconds
        runs.append(run)
    if not runs:
        raise AllDivergedError(
            "the training diverged at every learning rate",
            got=", ".join(f"{rate:g}" for rate in losses),
            hint="give a smaller --lr",
        )
    return Tried(min(runs, key=lambda run: run.validation.loss), losses, cpu, wall)
