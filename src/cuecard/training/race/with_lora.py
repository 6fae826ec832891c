"""A race of prompts that a LoRA adapter takes part in: what is clearly better is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from cuecard.errors import Interrupted
from cuecard.folder_lock import held
from cuecard.interrupts import stoppable
from cuecard.progress_bar import with_progress_bar
from cuecard.tasks import Task
from cuecard.training.config import Budget, TrainConfig, with_budget
from cuecard.training.loop import stopped_in
from cuecard.training.race.lora_found import EVENT, LoraFound
from cuecard.training.race.lora_trial import LoraTrial
from cuecard.training.race.runner import Chosen, RaceRunner
from cuecard.training.race.several_seeds import FOLDER
from cuecard.training.run import Run
from cuecard.training.storage.checkpoint import State
from cuecard.training.storage.log import Observer
from cuecard.training.train import Before, train_prompt
from cuecard.training.train_lora import LoraRun, train_adapter
from cuecard.types import Backbone

LORA_FOLDER = "lora"
"""Where LoRA's own race is kept, in the race's folder."""

# The share of the budget that LoRA's race may take; the prompts race with the rest of it.
_SHARE = 1 / 6
_MOST_STEPS = 40


class Raced(NamedTuple):
    """A finished run of what was best, and how LoRA did."""

    run: Run | LoraRun
    lora: LoraFound


@with_progress_bar
def auto_or_lora(
    backbone: Backbone,
    task: Task,
    config: TrainConfig | None = None,
    *,
    heads: bool = True,
    folder: str | Path | None = None,
    observer: Observer | None = None,
    progress: bool = True,
) -> Run | LoraRun:
    """`auto`, with a LoRA adapter of rank 8 among the contestants.

    Prompts race with five sixths of the budget, as without it. Then the adapter is trained for a
    few steps with the sixth that is left, and both are asked the same validation rows. Where the
    adapter is clearly better (the paired 95% interval of the difference is above 0), it is trained
    with all that is left of the budget, and the run is one of an adapter; else the prompt is.

    Args:
        config, heads, folder, observer, progress: as in `auto`.

    Raises:
        ConfigError: as in `auto`; or a backbone that is quantised or has an adapter, or a template
            with a place for a prompt.
        DataError, TrainingError, FrozenError, Interrupted: as in `auto`.
    """
    place = None if folder is None else Path(folder)
    config = config or TrainConfig()
    return RaceWithLora(backbone, task, config, place, observer, heads=heads).run().run


class RaceWithLora:
    """Race prompts, then LoRA; train the better one on from where its race ended.

    Args:
        folder: the run's; the races are kept in `race` there. None keeps nothing.
        observer: called with every event of the logs.
        alongside: as in `train`, where a prompt is trained on.
        heads: as in `RaceRunner`.

    Raises:
        CuecardError: as `RaceRunner` and `LoraTrial`.
    """

    def __init__(
        self,
        backbone: Backbone,
        task: Task,
        config: TrainConfig,
        folder: Path | None = None,
        observer: Observer | None = None,
        *,
        alongside: bool = False,
        heads: bool = True,
    ) -> None:
        config = with_budget(config)
        self._budget = Budget.parse(str(config.budget))
        self._folder, self._observer, self._alongside = folder, observer, alongside
        share, rest = _shared_out(self._budget)
        steps = TrainConfig.model_fields["steps"].default
        self.prompts = RaceRunner(
            backbone,
            task,
            config.model_copy(update={"budget": rest, "steps": steps}),
            heads=heads,
        )
        self._trial = LoraTrial(backbone, task, config, share)

    def fits(self, folder: Path) -> None:
        """
        Raises:
            TrainingError: the folder holds the race of something else.
        """
        self.prompts.fits(folder / FOLDER)
        self._trial.fits(folder / FOLDER / LORA_FOLDER)

    def run(self) -> Raced:
        """Race, train the better one on, test it once, and keep it.

        Raises:
            TrainingError: the training diverged, or the folder belongs to another run.
            FrozenError: the backbone changed.
            Interrupted: Ctrl-C; the checkpoint is saved.
        """
        folder = self._folder
        race = None if folder is None else folder / FOLDER
        with held(folder), stoppable(self._stopped):
            chosen = self.prompts.choose(race, self._observer, folder)
            found = self._trial.run(
                chosen, race and race / LORA_FOLDER, self._observer_of_trial, self._stopped
            )
            return Raced(self._trained(chosen, found), found)

    def _trained(self, chosen: Chosen, found: LoraFound) -> Run | LoraRun:
        kept: dict[str, Any] = {"folder": self._folder, "observer": self._observer}
        spent = State()
        spent.spend_as(chosen.spent)
        spent.spend_as(self._trial.state)

        def after(best: Mapping[str, Any]) -> Before:
            return Before(best, spent, {EVENT: asdict(found)})

        if not found.taken:
            before = after({} if chosen.raced is None else chosen.raced.best)
            more: dict[str, Any] = {"alongside": self._alongside, "before": before}
            return train_prompt(chosen.setup, chosen.method, **kept, **more)
        left = Budget(None, chosen.setup.config.steps)
        if self._budget.seconds is not None:
            left = Budget(self._budget.seconds - spent.cpu_seconds)
        setup = self._trial.final_setup(chosen, left)
        before = after(self._trial.state.best)
        adapter = self._trial.adapter
        return train_adapter(setup, adapter, **kept, command="cuecard train", before=before)

    @property
    def _observer_of_trial(self) -> Observer | None:
        """Says of LoRA's race that it is not the run's training itself."""
        tell, part = self._observer, f"{FOLDER}/{LORA_FOLDER}"
        return None if tell is None else lambda event: tell({**event, "run": part})

    def _stopped(self) -> Interrupted:
        return stopped_in("stopped during LoRA's race", self._folder, "cuecard train")


def _shared_out(budget: Budget) -> tuple[Budget, str]:
    """LoRA's share of a budget, and what is left as a setting."""
    if budget.seconds is not None:
        share = budget.seconds * _SHARE
        return Budget(share), f"{budget.seconds - share!r}s"
    steps = budget.steps or 0
    share_steps = min(int(steps * _SHARE), _MOST_STEPS)
    return Budget(None, share_steps), f"{steps - share_steps} steps"
