"""Run a port, and leave its report in the run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cuecard.artifacts import Prompt
from cuecard.catalogue import Progress
from cuecard.names import load_backbone
from cuecard.progress_bar import with_progress_bar
from cuecard.runs.compiling.rows import labelled_rows_of, unlabelled_rows
from cuecard.runs.folder import RunFolder
from cuecard.runs.porting.recipe import OldPromptRecipe, PortRecipe
from cuecard.runs.porting.report import report_of, write_report
from cuecard.training.porting.porter import PROMPTS, PromptPorter
from cuecard.training.porting.sources import PortSource
from cuecard.training.storage.log import Observer
from cuecard.types import Backbone, Record


@dataclass(frozen=True)
class PortOutcome:
    """What a recipe led to.

    Attributes:
        folder: the run's; the new prompts are in `prompts` there, by name.
        report: what `report.json` says.
    """

    folder: Path
    report: Mapping[str, Any]

    def prompt_folder(self, name: str) -> Path:
        """Where a new prompt is."""
        return self.folder / PROMPTS / name


@with_progress_bar
def run_port(
    recipe: PortRecipe,
    *,
    observer: Observer | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> PortOutcome:
    """Port as the recipe says; the run's folder holds everything.

    A run of the same recipe in the folder is resumed; of a finished one the report is read.

    Args:
        overwrite: start again where the folder holds another run.

    Raises:
        CuecardError: see `PromptPorter`; files that cannot be read.
    """
    place = RunFolder.of(recipe)
    place.check(recipe, overwrite=overwrite)
    porter = _porter(recipe, observer, progress)
    with place.claimed(recipe, overwrite=overwrite, fits=porter.fits) as folder:
        report = place.report(porter.key, (f"{PROMPTS}/{name}" for name in recipe.prompts))
        if report is None:
            report = {**report_of(porter.run(), recipe), "key": porter.key}
            write_report(report, folder)
        return PortOutcome(folder, report)


def plan_port(
    recipe: PortRecipe, *, progress: Progress | None = None, overwrite: bool = False
) -> dict[str, Any]:
    """What a port would take, without asking or training anything.

    Raises:
        CuecardError: whatever `run_port` would refuse before its first answer.
    """
    RunFolder.of(recipe).check(recipe, overwrite=overwrite)
    return {"folder": str(recipe.folder), **_porter(recipe, None, progress).plan()}


def resume_port(
    folder: str | Path, *, observer: Observer | None, progress: Progress | None
) -> PortOutcome:
    """Resume the run in a folder.

    Raises:
        TrainingError: there is no such run.
    """
    recipe = RunFolder(Path(folder), PortRecipe).to_resume()
    return run_port(recipe, observer=observer, progress=progress)


def _porter(
    recipe: PortRecipe, observer: Observer | None, progress: Progress | None
) -> PromptPorter:
    """Everything read and checked; files before models."""
    sources = [_source(name, old, recipe, progress) for name, old in recipe.prompts.items()]

    def load(source: PortSource) -> Backbone:
        return _backbone(recipe.prompts[source.name], recipe, progress)

    return PromptPorter(
        _backbone(recipe, recipe, progress),
        sources,
        load,
        recipe.porting,
        recipe.training,
        folder=recipe.folder,
        observer=observer,
    )


def _backbone(
    named: PortRecipe | OldPromptRecipe, recipe: PortRecipe, progress: Progress | None
) -> Backbone:
    """The new backbone, or an old prompt's: both on one device and in one type."""
    return load_backbone(
        named.backbone,
        dtype=recipe.dtype,
        device=recipe.device,
        quantize=named.quantize,
        adapter=named.adapter,
        progress=progress,
    )


def _source(
    name: str, old: OldPromptRecipe, recipe: PortRecipe, progress: Progress | None
) -> PortSource:
    source = PortSource(name, Prompt.load(old.folder), (), version=old.version)
    spec = source.spec
    text_field, label_field, limit = recipe.text_field, recipe.label_field, recipe.limit
    inputs = unlabelled_rows(
        old.inputs, spec, text_field=text_field, limit=limit, progress=progress
    )
    labelled: list[Record] = []
    if old.tests is not None:
        labelled = labelled_rows_of(
            old.tests, spec, text_field=text_field, label_field=label_field, progress=progress
        )
    return replace(source, inputs=inputs, labelled=labelled)
