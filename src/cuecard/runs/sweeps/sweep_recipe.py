"""A sweep in one piece: a recipe that all trials start from, and what they change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cuecard.catalogue import Progress
from cuecard.methods import MethodSettings
from cuecard.plain_files import write_text
from cuecard.progress_bar import with_progress_bar
from cuecard.runs.folder import RunFolder
from cuecard.runs.recipe import AroundRecipe, Recipe, what_else
from cuecard.runs.run_kinds import RUN, SWEEP
from cuecard.shards import Shard
from cuecard.tracking import with_trackers
from cuecard.training.storage.log import Observer
from cuecard.training.sweeps.space import Space, SweepConfig
from cuecard.types import Backbone

if TYPE_CHECKING:
    from cuecard.comparison.prove import Proof
    from cuecard.tasks import Task
    from cuecard.training.sweeps.shards import TrainedShards
    from cuecard.training.sweeps.trials import Sweep


class SweepRecipe(AroundRecipe):
    """Everything a sweep depends on.

    Attributes:
        recipe: what every trial starts from; `recipe.out` is the sweep's folder.
        sweep: what the trials change.
    """

    KIND = SWEEP

    sweep: SweepConfig

    @property
    def folder(self) -> Path:
        """See `folder_of`; a shard's has its place in the name, unless `out` says another."""
        found = super().folder
        if self.sweep.shard is None or self.recipe.out:
            return found
        return _beside(found, self.sweep.share)

    def with_shard(self, share: Shard) -> SweepRecipe:
        """One shard of a whole sweep, in its folder beside the whole one's."""
        sweep = self.sweep.model_copy(update={"shard": str(share)})
        return self.in_folder(_beside(self.folder, share)).model_copy(update={"sweep": sweep})

    def without_shard(self, out: str | Path | None) -> SweepRecipe:
        """The whole sweep, in another folder; by default in its usual one."""
        recipe = self.recipe.model_copy(update={"out": None if out is None else str(out)})
        sweep = self.sweep.model_copy(update={"shard": None})
        return self.model_copy(update={"recipe": recipe, "sweep": sweep})


@dataclass(frozen=True)
class SweepOutcome:
    """What a sweep led to.

    Attributes:
        task, backbone: what it was run on.
        sweep: the trials and the chosen run.
        proof: the chosen run's comparison; None without test rows, with `compare: false`, or for
            a shard, which chooses none.
    """

    task: Task
    backbone: Backbone
    sweep: Sweep
    proof: Proof | None


@with_progress_bar
@with_trackers
def run_sweep(
    plan: SweepRecipe,
    *,
    observer: Observer | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    trained: TrainedShards | None = None,
) -> SweepOutcome:
    """Run a sweep; its folder holds everything, the chosen trial as a run in `best`.

    The same sweep in the folder is resumed. A shard of one trains its trials and chooses none; see
    `collect_sweep`.

    Args:
        observer: called with every event; by default a progress bar in a terminal or a notebook.
        overwrite: start again where the folder holds another one.
        trained: the trials of its shards, instead of training them.

    Raises:
        CuecardError: see `Task.from_file`, `load_backbone`, `prepare_sweep`, `sweep` and `prove`.
    """
    recipe, place = plan.recipe, RunFolder.of(plan)
    method = check_sweep(plan, overwrite=overwrite)
    task = recipe.read_task(progress)
    backbone = recipe.load_backbone(progress)
    # What trains and reports, only now: a mistake in what is named need not wait for it.
    from cuecard.comparison.reports import report_run  # noqa: PLC0415
    from cuecard.training.sweep import prepare_sweep  # noqa: PLC0415

    runner = prepare_sweep(
        backbone,
        task,
        plan.sweep,
        method,
        recipe.training,
        folder=plan.folder,
        observer=observer,
    )
    if trained is not None:
        trained.check_parts(runner.parts)
    with place.claimed(plan, overwrite=overwrite, fits=runner.fits) as folder:
        if trained is not None:
            trained.put_into(folder, runner.parts)
        runner.train()
        found = runner.finish()
        if not found.runs:
            return SweepOutcome(task, backbone, found, None)
        run = found.run
        assert run.folder is not None
        write_text(_chosen(recipe, found).to_yaml(), run.folder / RUN.file)
        proof = report_run(
            backbone,
            task,
            run,
            run.folder,
            title=f"{recipe.data.name}, the chosen trial",
            resume=place.resume_command,
            compare=recipe.compare,
            demonstrations=recipe.demonstrations,
            observer=observer,
            what_else=what_else(recipe, run.folder),
        )
    return SweepOutcome(task, backbone, found, proof)


def check_sweep(plan: SweepRecipe, *, overwrite: bool) -> MethodSettings:
    """The method of a sweep, once its settings and its folder are found to be right.

    Raises:
        ConfigError: several seeds, settings that contradict each other, or another run's folder.
        TrainingError: another process uses the folder.
    """
    recipe = plan.recipe
    recipe.check_one_seed("each trial of a sweep")
    method = recipe.read_method()
    Space(plan.sweep, method, recipe.training)
    RunFolder.of(plan).check(plan, overwrite=overwrite)
    return method


def resume_sweep(folder: str | Path, **options: Any) -> SweepOutcome:
    """Resume the sweep in a folder; options as in `run_sweep`.

    Raises:
        TrainingError: there is no sweep.
    """
    return run_sweep(RunFolder(Path(folder), SweepRecipe).to_resume(), **options)


def _beside(folder: Path, share: Shard) -> Path:
    """The folder of a shard of the sweep in this one."""
    return folder.with_name(f"{folder.name}-{share.index}-of-{share.count}")


def _chosen(recipe: Recipe, found: Sweep) -> Recipe:
    """The chosen trial's own recipe."""
    values = recipe.model_dump(mode="json")
    for key, value in found.best.settings.items():
        section, name = key.split(".", 1)
        values[section][name] = value
    return Recipe.parse(values | {"out": str(found.run.folder)}, "the sweep")
