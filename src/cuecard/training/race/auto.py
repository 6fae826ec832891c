"""`--method auto`: find the method and its rate within a budget, and train it to the end."""

from __future__ import annotations

from pathlib import Path

from cuecard.progress_bar import with_progress_bar
from cuecard.tasks import Task
from cuecard.training.config import TrainConfig
from cuecard.training.race.runner import RaceRunner
from cuecard.training.run import Run
from cuecard.training.storage.log import Observer
from cuecard.types import Backbone


@with_progress_bar
def auto(
    backbone: Backbone,
    task: Task,
    config: TrainConfig | None = None,
    *,
    heads: bool = True,
    folder: str | Path | None = None,
    observer: Observer | None = None,
    progress: bool = True,
) -> Run:
    """Race methods and rates for a few steps each, train the best on validation to the end, test
    it once.

    The budget is `config.budget`, of CPU time or steps; without one `config.steps` if they are
    given, else two minutes of CPU time. A third of it goes to the race at most. How many steps that
    makes is measured once and kept: a run that is resumed from a checkpoint in the folder is
    bit-identical.

    Args:
        heads: in a classification, whether a head that is fitted to the frozen model's hidden
            states and then trained may race beside the label words. What wins is the run's task.
        config: how to train. A batch size other than the default holds for all contestants.
        folder: where the log, the checkpoint and the prompt go; None keeps nothing.
        observer: called with every event of the log, and with "resume" where a run is resumed.
        progress: without an observer, show a bar in a terminal or a notebook.

    Raises:
        ConfigError: the backbone takes none of the contestants, or cannot be asked the task.
        DataError: no training or no validation rows.
        TrainingError: it diverged, or the folder belongs to another run.
        FrozenError: the backbone changed.
        Interrupted: Ctrl-C; the checkpoint is saved.
    """
    runner = RaceRunner(backbone, task, config or TrainConfig(), heads=heads)
    return runner.run(None if folder is None else Path(folder), observer)
