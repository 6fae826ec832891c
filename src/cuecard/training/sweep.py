"""Many trials on one backbone, several in each pass: one process, one model in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cuecard.errors import DataError
from cuecard.methods import MethodSettings, PromptTuning
from cuecard.progress_bar import with_progress_bar
from cuecard.tasks import Task
from cuecard.training.config import TrainConfig
from cuecard.training.storage.log import Observer
from cuecard.training.sweeps.runner import SweepRunner
from cuecard.training.sweeps.space import SweepConfig
from cuecard.training.sweeps.trials import Sweep
from cuecard.types import Backbone


@with_progress_bar
def sweep(
    backbone: Backbone,
    tasks: Task | Mapping[str, Task],
    space: SweepConfig,
    method: MethodSettings | None = None,
    config: TrainConfig | None = None,
    *,
    folder: str | Path | None = None,
    observer: Observer | None = None,
    progress: bool = True,
) -> Sweep:
    """Train every trial on every task, choose by validation, test the chosen ones alone and once.

    Resumes from a checkpoint of the same sweep in the folder; the result is bit-identical.

    Args:
        tasks: one, or several by name, each with trials and a chosen one of its own.
        space: what to try.
        method, config: what every trial starts from.
        folder: where `sweep.json`, `sweep.md`, the trials' logs and the chosen runs go.
        observer: called with every event: "sweep" first; the trials' log events and "trial_done",
            with the number as "trial"; then the chosen runs' own.
        progress: without an observer, show a bar in a terminal or a notebook.

    Raises:
        ConfigError: settings that cannot be used, or Optuna is needed and not installed.
        DataError: no training or no validation rows.
        TrainingError: all trials of a task diverged, or the folder belongs to something else.
        FrozenError: the backbone changed.
        Interrupted: Ctrl-C; the checkpoint is saved.
    """
    runner = prepare_sweep(backbone, tasks, space, method, config, folder=folder, observer=observer)
    runner.train()
    return runner.finish()


def prepare_sweep(
    backbone: Backbone,
    tasks: Task | Mapping[str, Task],
    space: SweepConfig,
    method: MethodSettings | None = None,
    config: TrainConfig | None = None,
    *,
    folder: str | Path | None = None,
    observer: Observer | None = None,
) -> SweepRunner:
    """The trials of `sweep`, checked as every run is; nothing is written yet.

    Raises:
        ConfigError: settings that cannot be used, or Optuna is needed and not installed.
        CuecardError: see `TrainSetup.of`.
    """
    named = {"": tasks} if isinstance(tasks, Task) else dict(tasks)
    if not named:
        raise DataError("a sweep needs a task", got=0, expected="one or more")
    return SweepRunner(
        backbone,
        named,
        space,
        method or PromptTuning(),
        config or TrainConfig(),
        None if folder is None else Path(folder),
        observer or (lambda event: None),
    )
