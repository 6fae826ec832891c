"""A prompt with demonstrations in one piece: a recipe, and how many sets of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from cuecard.catalogue import Progress
from cuecard.errors import ConfigError
from cuecard.methods import PromptTuning
from cuecard.progress_bar import with_progress_bar
from cuecard.runs.folder import RunFolder
from cuecard.runs.recipe import AroundRecipe
from cuecard.runs.run_kinds import LM_BFF
from cuecard.tasks import Task
from cuecard.tracking import with_trackers
from cuecard.training.few_shot.lm_bff import (
    DEFAULT_SETS,
    DemonstrationRun,
    DemonstrationTraining,
)
from cuecard.training.storage.log import Observer
from cuecard.types import Backbone


class DemonstrationRecipe(AroundRecipe):
    """Everything a run with demonstrations depends on.

    Attributes:
        recipe: data, task, backbone, prompt tuning and training. `recipe.out` is the run's folder.
        sets: how many sets of demonstrations.
        typical: whether rows that are unlike the others are not shown.
    """

    KIND = LM_BFF

    sets: int = Field(default=DEFAULT_SETS, ge=1)
    typical: bool = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        """
        Raises:
            ConfigError: another method, or several seeds.
        """
        self.recipe.check_one_seed("training with demonstrations")
        if self.recipe.method["name"] != PromptTuning.name:
            raise ConfigError(
                "demonstrations are shown after a prompt of vectors",
                where="method",
                got=self.recipe.method["name"],
                expected=PromptTuning.name,
            )
        return self


@dataclass(frozen=True)
class DemonstrationOutcome:
    """What a recipe led to."""

    task: Task
    backbone: Backbone
    found: DemonstrationRun


@with_progress_bar
@with_trackers
def run_lm_bff(
    plan: DemonstrationRecipe,
    *,
    observer: Observer | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> DemonstrationOutcome:
    """Train and test as the recipe says; the run's folder holds everything.

    A run of the same recipe in the folder is resumed.

    Args:
        overwrite: start again where the folder holds another run.

    Raises:
        CuecardError: see `Task.from_file`, `load_backbone` and `DemonstrationTraining`.
    """
    place, recipe = RunFolder.of(plan), plan.recipe
    place.check(plan, overwrite=overwrite)
    task = recipe.read_task(progress)
    method = recipe.read_method()
    assert isinstance(method, PromptTuning)
    backbone = recipe.load_backbone(progress)
    training = DemonstrationTraining(
        backbone,
        task,
        method,
        recipe.training,
        sets=plan.sets,
        typical=plan.typical,
        folder=place.path,
        observer=observer,
    )
    with place.claimed(plan, overwrite=overwrite, fits=training.fits):
        return DemonstrationOutcome(task, backbone, training.run())


def resume_lm_bff(
    folder: str | Path, *, observer: Observer, progress: Progress | None
) -> DemonstrationOutcome:
    """Resume the run in a folder.

    Raises:
        TrainingError: there is no such run.
    """
    plan = RunFolder(Path(folder), DemonstrationRecipe).to_resume()
    return run_lm_bff(plan, observer=observer, progress=progress)
