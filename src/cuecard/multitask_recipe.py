"""A multitask run in one piece: several data sets, one backbone, one shared prompt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from cuecard.backbones.forms import Precision, Quantize
from cuecard.catalogue import Progress
from cuecard.errors import ConfigError
from cuecard.methods import MPT
from cuecard.plain_files import write_text
from cuecard.recipe import FILE as RECIPE
from cuecard.recipe import DataRecipe, Recipe, TaskRecipe, read_recipe
from cuecard.run_folder import MULTITASK, RunFolder
from cuecard.settings import parse_settings
from cuecard.tasks import Task
from cuecard.training.config import TrainConfig
from cuecard.training.log import Observer
from cuecard.training.mix import TASKS, Multitask
from cuecard.training.multitask import DISTIL, check_multitask, multitask
from cuecard.training.watched import watched
from cuecard.types import Backbone

FILE = MULTITASK.file


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceRecipe(_Section):
    """A source task: the sections `data` and `task` of a recipe."""

    data: DataRecipe
    task: TaskRecipe = TaskRecipe()


class MultitaskRecipe(_Section):
    """Everything a multitask run depends on.

    Attributes:
        tasks: the source tasks by name.
        backbone, quantize, dtype, device: as in a recipe.
        method: settings of `mpt`; a `prompt` to start from is a folder here.
        distil: lambda, the weight of the teachers; 0 for none.
        out: the run's folder.
    """

    tasks: dict[str, SourceRecipe]
    backbone: str = "smollm2-135m-instruct"
    dtype: Precision = "auto"
    quantize: Quantize = "none"
    device: str = "auto"
    method: dict[str, Any] = Field(default_factory=dict)
    training: TrainConfig = TrainConfig()
    distil: float = Field(default=DISTIL, ge=0, allow_inf_nan=False)
    out: str = "runs/multitask"

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.out)

    def recipe_of(self, name: str) -> Recipe:
        """One task as a recipe of its own, whose folder is below the run's.

        Raises:
            ConfigError: a setting that cannot be used.
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


@watched
def run_multitask(
    plan: MultitaskRecipe,
    *,
    observer: Observer | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> MultitaskOutcome:
    """Train the shared prompt as the recipe says; its folder holds everything.

    A folder with a run of the same recipe is gone on with.

    Args:
        observer: called with every event; by default a progress bar in a terminal or a notebook.
        overwrite: start again where the folder holds another run.

    Raises:
        CuecardError: see `Task.from_file`, `load_backbone` and `multitask`.
    """
    place = _place(plan.folder)
    if not plan.tasks:
        raise ConfigError("there are no tasks", where="the recipe, tasks", expected="two or more")
    recipes = {name: plan.recipe_of(name) for name in plan.tasks}
    first = next(iter(recipes.values()))
    method = first.read_method()
    assert isinstance(method, MPT)
    place.check(plan, overwrite=overwrite)
    tasks = {name: recipe.read_task(progress) for name, recipe in recipes.items()}
    backbone = first.load_backbone(progress)
    check_multitask(backbone, tasks, method, plan.training, plan.distil)
    text = yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    with place.claimed(plan, text, overwrite=overwrite) as folder:
        found = multitask(
            backbone,
            tasks,
            method,
            plan.training,
            distil=plan.distil,
            folder=folder,
            observer=observer,
        )
        for name, recipe in recipes.items():
            write_text(recipe.to_yaml(), folder / TASKS / name / RECIPE)
    return MultitaskOutcome(tasks, backbone, found)


def read_multitask(path: str | Path) -> MultitaskRecipe:
    """A YAML file as a checked recipe.

    Raises:
        ConfigError: no such file, no YAML, an unknown key, or a value that does not fit.
    """
    return parse_settings(MultitaskRecipe, read_recipe(path), str(path))


def resume_multitask(folder: str | Path, **options: Any) -> MultitaskOutcome:
    """Go on with the run in a folder; options as in `run_multitask`.

    Raises:
        TrainingError: there is no such run.
    """
    place = _place(Path(folder))
    place.must_exist()
    plan = read_multitask(place.file).model_copy(update={"out": str(folder)})
    place.must_find(path for name in plan.tasks for path in plan.recipe_of(name).paths)
    return run_multitask(plan, **options)


def _place(folder: Path) -> RunFolder:
    return RunFolder(folder, MULTITASK, read_multitask)
