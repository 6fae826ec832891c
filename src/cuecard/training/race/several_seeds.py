"""A race whose best contestant is trained with several seeds, all within one budget."""

from __future__ import annotations

from pathlib import Path

from cuecard.folder_lock import held
from cuecard.tasks import Task
from cuecard.training.config import Keep, TrainConfig
from cuecard.training.race.runner import RaceRunner
from cuecard.training.seeds import SeedRuns, SeedTraining
from cuecard.training.storage.log import Observer
from cuecard.types import Backbone

FOLDER = "race"
"""Where the race's log and checkpoint go, in the run's folder."""


class RaceOfSeeds:
    """Race with the first seed, then train the best contestant with each seed, from its start on.

    A head that was fitted is every seed's start.

    Args:
        seeds: how many, two or more.
        keep: as in `train_seeds`.
        heads: as in `RaceRunner`.
        folder: the run's; None keeps nothing.
        observer: called with every event, as of `sweep`.

    Raises:
        CuecardError: as `RaceRunner`.
    """

    def __init__(
        self,
        backbone: Backbone,
        task: Task,
        config: TrainConfig,
        *,
        seeds: int,
        keep: Keep = "best",
        heads: bool = True,
        folder: Path | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._backbone, self._seeds, self._keep = backbone, seeds, keep
        self._folder, self._observer = folder, observer
        self._race = RaceRunner(backbone, task, config, runs=seeds, heads=heads)

    def fits(self, folder: Path) -> None:
        """
        Raises:
            TrainingError: the folder holds the race of something else.
        """
        self._race.fits(folder / FOLDER)

    def run(self) -> SeedRuns:
        """Race, then train, test and keep as `SeedTraining` does.

        Raises:
            CuecardError: as `RaceRunner.choose` and `SeedTraining.run`.
        """
        folder = self._folder
        with held(folder):
            own = None if folder is None else folder / FOLDER
            chosen = self._race.choose(own, self._observer, folder)
            return SeedTraining(
                self._backbone,
                chosen.setup.task,
                chosen.method,
                chosen.setup.config,
                seeds=self._seeds,
                keep=self._keep,
                folder=folder,
                observer=self._observer,
                spent=chosen.spent,
                head=chosen.head,
            ).run()
