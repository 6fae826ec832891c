"""Learning a start for prompts in one piece: many data sets, one backbone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from cuecard.artifacts.meta_init import MetaInit
from cuecard.backbones.quantization.forms import Precision, Quantize
from cuecard.catalogue import Progress
from cuecard.methods import PromptTuning
from cuecard.names import load_backbone
from cuecard.progress_bar import with_progress_bar
from cuecard.runs.folder import RunFolder
from cuecard.runs.multitask_recipe import SourceRecipe
from cuecard.runs.recipe import Recipe
from cuecard.runs.recipe_file import RunRecipe
from cuecard.runs.run_kinds import META_INIT
from cuecard.tracking import ReportTo, with_trackers
from cuecard.training.few_shot.meta import FILE, MetaConfig, MetaTraining
from cuecard.training.storage.log import Observer


class MetaRecipe(RunRecipe):
    """Everything that a learnt start depends on.

    Attributes:
        tasks: the tasks by name.
        backbone, dtype, quantize, device: as in a recipe.
        meta: how it is learnt.
        report_to: trackers, as in a recipe.
        out: the run's folder.
    """

    KIND = META_INIT

    tasks: dict[str, SourceRecipe]
    backbone: str = "smollm2-135m-instruct"
    dtype: Precision = "auto"
    quantize: Quantize = "none"
    device: str = "auto"
    meta: MetaConfig = MetaConfig()
    report_to: ReportTo = ()
    out: str = "runs/meta-init"

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.out)

    @property
    def paths(self) -> tuple[str, ...]:
        """What may be a path."""
        data = (path for source in self.tasks.values() for path in source.data.paths)
        return (*data, self.backbone)

    def in_folder(self, folder: Path) -> Self:
        """The same recipe for another folder."""
        return self.model_copy(update={"out": str(folder)})

    def recipe_of(self, name: str) -> Recipe:
        """One task as a recipe of its own.

        Raises:
            ConfigError: an invalid setting.
        """
        same = {key: getattr(self, key) for key in ("backbone", "dtype", "quantize", "device")}
        values: dict[str, Any] = {
            **self.tasks[name].model_dump(mode="json"),
            **same,
            "method": {"name": PromptTuning.name},
        }
        return Recipe.parse(values, f"the recipe, tasks.{name}")


@dataclass(frozen=True)
class MetaOutcome:
    """What a recipe led to.

    Attributes:
        found: the start.
        file: where it is.
    """

    found: MetaInit
    file: Path


@with_progress_bar
@with_trackers
def run_meta(
    plan: MetaRecipe,
    *,
    observer: Observer | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> MetaOutcome:
    """Learn a start as the recipe says; the run's folder holds everything.

    A run of the same recipe in the folder is resumed.

    Args:
        overwrite: start again where the folder holds another run.

    Raises:
        CuecardError: see `Task.from_file`, `load_backbone` and `MetaTraining`.
    """
    place = RunFolder.of(plan)
    place.check(plan, overwrite=overwrite)
    recipes = {name: plan.recipe_of(name) for name in plan.tasks}
    tasks = {name: recipe.read_task(progress) for name, recipe in recipes.items()}
    backbone = load_backbone(
        plan.backbone,
        dtype=plan.dtype,
        device=plan.device,
        quantize=plan.quantize,
        progress=progress,
    )
    training = MetaTraining(backbone, tasks, plan.meta, folder=place.path, observer=observer)
    with place.claimed(plan, overwrite=overwrite, fits=training.fits):
        return MetaOutcome(training.run(), place.path / FILE)


def resume_meta(
    folder: str | Path, *, observer: Observer, progress: Progress | None
) -> MetaOutcome:
    """Resume the run in a folder.

    Raises:
        TrainingError: there is no such run.
    """
    plan = RunFolder(Path(folder), MetaRecipe).to_resume()
    return run_meta(plan, observer=observer, progress=progress)
