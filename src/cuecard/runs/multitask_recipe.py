"""A multitask run in one piece: several data sets, one backbone, one shared prompt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field

from cuecard.backbones.quantization.forms import Precision, Quantize
from cuecard.catalogue import Progress
from cuecard.errors import ConfigError
from cuecard.methods import MPT
from cuecard.plain_files import write_text
from cuecard.progress_bar import with_progress_bar
from cuecard.runs.folder import RunFolder
from cuecard.runs.recipe import Recipe
from cuecard.runs.recipe_file import RunRecipe, Section
from cuecard.runs.recipe_sections import DataRecipe, TaskRecipe
from cuecard.runs.run_kinds import MULTITASK, RUN
from cuecard.tasks import Task
from cuecard.tracking import ReportTo, with_trackers
from cuecard.training.config import TrainConfig
from cuecard.training.multitask import DISTIL, multitask_setups, train_multitask
from cuecard.training.multitask_trainer import TASKS, Multitask, Sampling
from cuecard.training.storage.log import Observer
from cuecard.training.trainables.initial_method import suited_to
from cuecard.types import Backbone


class SourceRecipe(Section):
    """A source task: the sections `data` and `task` of a recipe."""

    data: DataRecipe
    task: Annotated[TaskRecipe, AfterValidator(lambda task: task.without_race)] = Field(
        default=TaskRecipe(), validate_default=True
    )


class MultitaskRecipe(RunRecipe):
    """Everything a multitask run depends on.

    Attributes:
        tasks: the source tasks by name.
        backbone, quantize, dtype, device: as in a recipe.
        method: settings of `mpt`; a `prompt` to start from is a folder here.
        distil: lambda, the weight of the teachers; 0 for none.
        sampling: the tasks of a step: all, or stochastic: 2 to all of them, drawn anew.
        report_to: trackers, as in a recipe.
        out: the run's folder.
    """

    KIND = MULTITASK

    tasks: dict[str, SourceRecipe]
    backbone: str = "smollm2-135m-instruct"
    dtype: Precision = "auto"
    quantize: Quantize = "none"
    device: str = "auto"
    method: dict[str, Any] = Field(default_factory=dict)
    training: TrainConfig = TrainConfig()
    distil: float = Field(default=DISTIL, ge=0, allow_inf_nan=False)
    sampling: Sampling = "all"
    report_to: ReportTo = ()
    out: str = "runs/multitask"

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.out)

    @property
    def paths(self) -> tuple[str, ...]:
        """What may be a path."""
        data = [path for source in self.tasks.values() for path in source.data.paths]
        start = self.method.get("prompt")
        return (*data, self.backbone, *(() if start is None else (str(start),)))

    def in_folder(self, folder: Path) -> Self:
        """The same recipe for another folder."""
        return self.model_copy(update={"out": str(folder)})

    def recipe_of(self, name: str) -> Recipe:
        """One task as a recipe of its own, whose folder is below the run's.

        Raises:
            ConfigError: an invalid setting.
        """
        source = self.tasks[name].model_dump(mode="json")
        same = {key: getattr(self, key) for key in ("backbone", "dtype", "quantize", "device")}
        values = {
            **source,
            **same,
            "method": {"init": "vocabulary", **self.method, "name": MPT.name},
            "training": self.training.model_dump(mode="json"),
            "compare": False,
            "out": str(self.folder / TASKS / name),
        }
        return Recipe.parse(values, f"the recipe, tasks.{name}")


@dataclass(frozen=True)
class MultitaskOutcome:
    """What a multitask recipe led to."""

    tasks: dict[str, Task]
    backbone: Backbone
    found: Multitask


@with_progress_bar
@with_trackers
def run_multitask(
    plan: MultitaskRecipe,
    *,
    observer: Observer | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> MultitaskOutcome:
    """Train the shared prompt as the recipe says; its folder holds everything.

    A run of the same recipe in the folder is resumed.

    Args:
        observer: called with every event; by default a progress bar in a terminal or a notebook.
        overwrite: start again where the folder holds another run.

    Raises:
        CuecardError: see `Task.from_file`, `load_backbone` and `multitask`.
    """
    place = RunFolder.of(plan)
    if not plan.tasks:
        raise ConfigError("there are no tasks", where="the recipe, tasks", expected="two or more")
    recipes = {name: plan.recipe_of(name) for name in plan.tasks}
    first = next(iter(recipes.values()))
    method = first.read_method()
    assert isinstance(method, MPT)
    place.check(plan, overwrite=overwrite)
    tasks = {name: recipe.read_task(progress) for name, recipe in recipes.items()}
    backbone = first.load_backbone(progress)
    method = suited_to(backbone, method)
    setups = multitask_setups(backbone, tasks, method, plan.training, plan.distil)
    with place.claimed(plan, overwrite=overwrite) as folder:
        found = train_multitask(
            setups,
            method,
            distil=plan.distil,
            sampling=plan.sampling,
            folder=folder,
            observer=observer,
        )
        for name, recipe in recipes.items():
            write_text(recipe.to_yaml(), folder / TASKS / name / RUN.file)
    return MultitaskOutcome(tasks, backbone, found)


def resume_multitask(folder: str | Path, **options: Any) -> MultitaskOutcome:
    """Resume the run in a folder; options as in `run_multitask`.

    Raises:
        TrainingError: there is no such run.
    """
    return run_multitask(RunFolder(Path(folder), MultitaskRecipe).to_resume(), **options)
