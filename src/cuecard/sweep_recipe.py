"""A sweep in one piece: a recipe that all trials start from, and what they change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from cuecard.catalogue import Progress
from cuecard.errors import ConfigError, TrainingError
from cuecard.plain_files import write_text
from cuecard.recipe import FILE as RECIPE
from cuecard.recipe import Recipe, check_folder, check_no_run, read_recipe
from cuecard.settings import parse_settings
from cuecard.tasks import Task
from cuecard.training.log import Observer
from cuecard.training.prove import Proof, prove, write_proof
from cuecard.training.space import Space, SweepConfig
from cuecard.training.sweep import sweep
from cuecard.training.trials import Sweep
from cuecard.types import Backbone

FILE = "sweep.yaml"


class SweepRecipe(BaseModel):
    """Everything a sweep depends on.

    Attributes:
        recipe: what every trial starts from; `recipe.out` is the sweep's folder.
        sweep: what the trials change.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Recipe
    sweep: SweepConfig

    @property
    def folder(self) -> Path:
        """The sweep's folder: runs/ and the data's name with "-sweep" by default."""
        folder = self.recipe.folder
        return folder if self.recipe.out else folder.with_name(f"{folder.name}-sweep")


@dataclass(frozen=True)
class SweepOutcome:
    """What a sweep led to.

    Attributes:
        task, backbone: what it was run on.
        sweep: the trials and the chosen run.
        proof: the chosen run's comparison; None without test rows or with `compare: false`.
    """

    task: Task
    backbone: Backbone
    sweep: Sweep
    proof: Proof | None


def run_sweep(
    plan: SweepRecipe,
    *,
    observer: Observer | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> SweepOutcome:
    """Run a sweep; its folder holds everything, the chosen trial as a run in `best`.

    A folder with the same sweep is gone on with.

    Args:
        overwrite: start again where the folder holds another one.

    Raises:
        CuecardError: see `Task.from_file`, `load_backbone`, `sweep` and `prove`.
    """
    recipe = plan.recipe
    method = recipe.read_method()
    Space(plan.sweep, method, recipe.training)  # what is wrong in it is told before all work
    task = recipe.read_task(progress)
    backbone = recipe.load_backbone(progress)
    folder = _claim(plan, overwrite)
    found = sweep(
        backbone, task, plan.sweep, method, recipe.training, folder=folder, observer=observer
    )
    run = found.run
    assert run.folder is not None
    write_text(_chosen(recipe, found).to_yaml(), run.folder / RECIPE)
    proof = None
    if recipe.compare and task.test:
        shown = tuple(k for k in recipe.demonstrations if k <= len(task.train) // 2)
        proof = prove(backbone, task, run, demonstrations=shown, observer=observer)
        write_proof(proof, task, run, run.folder, title=f"{folder.name}, the chosen trial")
    return SweepOutcome(task, backbone, found, proof)


def resume_sweep(folder: str | Path, **options: Any) -> SweepOutcome:
    """Go on with the sweep in a folder; options as in `run_sweep`.

    Raises:
        TrainingError: there is no sweep.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise TrainingError(
            "there is no sweep to go on with",
            where=str(folder),
            got=f"no {FILE}",
            expected="a sweep's folder",
        )
    values = read_recipe(path)
    values["recipe"] = values.get("recipe", {}) | {"out": str(folder)}
    return run_sweep(parse_settings(SweepRecipe, values, str(path)), **options)


def _chosen(recipe: Recipe, found: Sweep) -> Recipe:
    """The chosen trial's own recipe."""
    values = recipe.model_dump(mode="json")
    for key, value in found.best.settings.items():
        section, name = key.split(".", 1)
        values[section][name] = value
    return Recipe.parse(values | {"out": str(found.run.folder)}, "the sweep")


def _claim(plan: SweepRecipe, overwrite: bool) -> Path:
    """Make the sweep's folder and leave its settings there, unless something else has it."""
    folder, stated = plan.folder, plan.folder / FILE
    check_folder(folder, "the sweep's")
    check_no_run(folder, "a run")
    if overwrite:
        for name in ("checkpoint.pt", FILE):
            (folder / name).unlink(missing_ok=True)
    if stated.is_file():
        before = parse_settings(SweepRecipe, read_recipe(stated), str(stated))
        same = {"compare", "demonstrations", "out", "device"}
        if before.sweep != plan.sweep or before.recipe.model_dump(
            exclude=same
        ) != plan.recipe.model_dump(exclude=same):
            raise ConfigError(
                "the folder holds another sweep",
                where=str(folder),
                got="other settings than these",
                expected="a folder of its own",
                hint="choose another --out, or start again with --overwrite",
            )
    values = plan.model_dump(mode="json")
    write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), stated)
    return folder
