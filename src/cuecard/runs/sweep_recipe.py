"""A sweep in one piece: a recipe that all trials start from, and what they change."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from cuecard.catalogue import Progress
from cuecard.comparison.prove import Proof
from cuecard.comparison.reports import report_run
from cuecard.plain_files import write_text
from cuecard.progress_bar import watched
from cuecard.runs.folder import SWEEP, RunFolder
from cuecard.runs.recipe import FILE as RECIPE
from cuecard.runs.recipe import Recipe, read_recipe
from cuecard.settings import parse_settings
from cuecard.tasks import Task
from cuecard.training.storage.log import Observer
from cuecard.training.sweep import prepare_sweep
from cuecard.training.sweeps.space import Space, SweepConfig
from cuecard.training.sweeps.trials import Sweep
from cuecard.types import Backbone

FILE = SWEEP.file


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


@watched
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
        observer: called with every event; by default a progress bar in a terminal or a notebook.
        overwrite: start again where the folder holds another one.

    Raises:
        CuecardError: see `Task.from_file`, `load_backbone`, `prepare_sweep`, `sweep` and `prove`.
    """
    recipe, place = plan.recipe, _place(plan.folder)
    method = recipe.read_method()
    Space(plan.sweep, method, recipe.training)  # what is wrong in it is told before all work
    place.check(plan, overwrite=overwrite)
    task = recipe.read_task(progress)
    backbone = recipe.load_backbone(progress)
    runner = prepare_sweep(
        backbone,
        task,
        plan.sweep,
        method,
        recipe.training,
        folder=plan.folder,
        observer=observer,
    )
    text = yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    with place.claimed(plan, text, overwrite=overwrite, fits=runner.fits) as folder:
        runner.train()
        found = runner.finish()
        run = found.run
        assert run.folder is not None
        write_text(_chosen(recipe, found).to_yaml(), run.folder / RECIPE)
        proof = report_run(
            backbone,
            task,
            run,
            run.folder,
            title=f"{recipe.data.name}, the chosen trial",
            resume=f"{SWEEP.command} --resume {shlex.quote(str(folder))}",
            compare=recipe.compare,
            demonstrations=recipe.demonstrations,
            observer=observer,
        )
    return SweepOutcome(task, backbone, found, proof)


def resume_sweep(folder: str | Path, **options: Any) -> SweepOutcome:
    """Go on with the sweep in a folder; options as in `run_sweep`.

    Raises:
        TrainingError: there is no sweep.
    """
    place = _place(Path(folder))
    place.must_exist()
    values = read_recipe(place.file)
    values["recipe"] = values.get("recipe", {}) | {"out": str(folder)}
    plan = parse_settings(SweepRecipe, values, str(place.file))
    place.must_find(plan.recipe.paths)
    return run_sweep(plan, **options)


def _chosen(recipe: Recipe, found: Sweep) -> Recipe:
    """The chosen trial's own recipe."""
    values = recipe.model_dump(mode="json")
    for key, value in found.best.settings.items():
        section, name = key.split(".", 1)
        values[section][name] = value
    return Recipe.parse(values | {"out": str(found.run.folder)}, "the sweep")


def _place(folder: Path) -> RunFolder:
    return RunFolder(
        folder, SWEEP, lambda path: parse_settings(SweepRecipe, read_recipe(path), str(path))
    )
