"""Pattern-exploiting training in one piece: a recipe, patterns, and unlabelled rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from cuecard.catalogue import Progress
from cuecard.errors import ConfigError
from cuecard.methods import PromptTuning
from cuecard.names import data_source
from cuecard.progress_bar import with_progress_bar
from cuecard.runs.folder import RunFolder
from cuecard.runs.recipe import AroundRecipe, Recipe
from cuecard.runs.run_kinds import PET
from cuecard.tasks import Task, read_records
from cuecard.tracking import with_trackers
from cuecard.training.few_shot.generations import GROWTH
from cuecard.training.few_shot.pet import TEMPERATURE, PatternTraining, PetRun
from cuecard.training.storage.log import Observer
from cuecard.types import Backbone, Record


class PetRecipe(AroundRecipe):
    """Everything a run of pattern-exploiting training depends on.

    Attributes:
        recipe: data, task, backbone, prompt tuning and training; the task has no template.
            `recipe.out` is the run's folder.
        unlabelled: the rows to label, as `data.path`; their label column is not read.
        patterns: the templates.
        temperature: of the soft labels.
        generations: how often the patterns are trained, each time on more rows (iPET).
        growth: how many times as many rows in every generation.
    """

    KIND = PET

    unlabelled: str
    patterns: tuple[str, ...] = Field(min_length=2)
    temperature: float = Field(default=TEMPERATURE, gt=0, allow_inf_nan=False)
    generations: int = Field(default=1, ge=1)
    growth: float = Field(default=GROWTH, gt=1, allow_inf_nan=False)

    @model_validator(mode="after")
    def _check(self) -> Self:
        """
        Raises:
            ConfigError: a template beside the patterns, another method, or several seeds.
        """
        self.recipe.check_one_seed("pattern-exploiting training")
        refused = {
            "task.template": self.recipe.task.template,
            "method": None
            if self.recipe.method["name"] == PromptTuning.name
            else self.recipe.method["name"],
            "method.prompt": self.recipe.method["prompt"],
        }
        for where, got in refused.items():
            if got is not None:
                raise ConfigError(
                    "the patterns are the templates, and prompt tuning starts from their words",
                    where=where,
                    got=repr(got),
                    expected=f"no template, no other method than {PromptTuning.name}, and no "
                    "prompt to start from",
                )
        return self

    @property
    def paths(self) -> tuple[str, ...]:
        """What may be a path."""
        return (*self.recipe.paths, self.unlabelled)

    @property
    def first(self) -> Recipe:
        """The recipe with the first pattern, which reads the rows of all of them."""
        task = self.recipe.task.model_copy(update={"template": self.patterns[0]})
        return self.recipe.model_copy(update={"task": task})

    def read_unlabelled(self, task: Task, progress: Progress | None) -> list[Record]:
        """The rows to label.

        Raises:
            DataError: they cannot be used.
        """
        spec, field = task.spec, self.recipe.data.text_field
        columns = {} if field is None else {"text": field}
        return read_records(
            data_source(self.unlabelled, progress),
            fields=spec.record_fields,
            target_field=None,
            columns=columns,
            readers=spec.readers(None, columns),
            optional=spec.allow_empty,
        )


@dataclass(frozen=True)
class PetOutcome:
    """What a recipe led to."""

    task: Task
    backbone: Backbone
    found: PetRun


@with_progress_bar
@with_trackers
def run_pet(
    plan: PetRecipe,
    *,
    observer: Observer | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> PetOutcome:
    """Train, label and distil as the recipe says; the run's folder holds everything.

    A run of the same recipe in the folder is resumed.

    Args:
        overwrite: start again where the folder holds another run.

    Raises:
        CuecardError: see `Task.from_file`, `load_backbone` and `PatternTraining`.
    """
    place, recipe = RunFolder.of(plan), plan.first
    place.check(plan, overwrite=overwrite)
    task = recipe.read_task(progress)
    unlabelled = plan.read_unlabelled(task, progress)
    method = recipe.read_method()
    assert isinstance(method, PromptTuning)
    backbone = recipe.load_backbone(progress)
    training = PatternTraining(
        backbone,
        task,
        unlabelled,
        plan.patterns,
        method,
        recipe.training,
        temperature=plan.temperature,
        generations=plan.generations,
        growth=plan.growth,
        folder=place.path,
        observer=observer,
    )
    with place.claimed(plan, overwrite=overwrite, fits=training.fits):
        return PetOutcome(task, backbone, training.run())


def resume_pet(folder: str | Path, *, observer: Observer, progress: Progress | None) -> PetOutcome:
    """Resume the run in a folder.

    Raises:
        TrainingError: there is no such run.
    """
    plan = RunFolder(Path(folder), PetRecipe).to_resume()
    return run_pet(plan, observer=observer, progress=progress)
