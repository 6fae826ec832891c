"""Run a compilation, and leave its report in the run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuecard.catalogue import Progress
from cuecard.names import load_backbone
from cuecard.progress_bar import with_progress_bar
from cuecard.runs.compiling.recipe import CompileRecipe
from cuecard.runs.compiling.report import report_of, write_report
from cuecard.runs.compiling.rows import labelled_rows_of, unlabelled_rows
from cuecard.runs.folder import RunFolder
from cuecard.tasks import TaskSpec
from cuecard.tasks.readers.text_files import read_text
from cuecard.training.compiling.compiler import TextCompiler
from cuecard.training.compiling.full_text import FullText, with_place
from cuecard.training.compiling.questions import QuestionWriter
from cuecard.training.setup import key_of
from cuecard.training.storage.log import Observer
from cuecard.types import Backbone, Record


@dataclass(frozen=True)
class CompileOutcome:
    """What a recipe led to.

    Attributes:
        spec: what is asked of the prompt.
        folder: the run's.
        report: what `report.json` says.
    """

    spec: TaskSpec
    folder: Path
    report: Mapping[str, Any]


@with_progress_bar
def run_compile(
    recipe: CompileRecipe,
    *,
    observer: Observer | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> CompileOutcome:
    """Compile as the recipe says; the run's folder holds everything.

    A run of the same recipe in the folder is resumed; of a finished one the report is read.

    Args:
        overwrite: start again where the folder holds another run.

    Raises:
        CuecardError: see `FullText.of` and `TextCompiler`; files that cannot be read.
    """
    place = RunFolder.of(recipe)
    place.check(recipe, overwrite=overwrite)
    compiler, spec, key = _compiler(recipe, observer, progress)
    with place.claimed(recipe, overwrite=overwrite, fits=compiler.fits) as folder:
        report = place.report(key, ["prompt"])
        if report is None:
            report = {**report_of(compiler.run(), recipe), "key": key}
            write_report(report, folder, title=Path(recipe.text).name)
        return CompileOutcome(spec, folder, report)


def plan_compile(
    recipe: CompileRecipe, *, progress: Progress | None = None, overwrite: bool = False
) -> dict[str, Any]:
    """What a compilation would take, without asking or training anything.

    Raises:
        CuecardError: whatever `run_compile` would refuse before its first answer.
    """
    RunFolder.of(recipe).check(recipe, overwrite=overwrite)
    compiler, _, _ = _compiler(recipe, None, progress)
    return {"folder": str(recipe.folder), **compiler.plan()}


def resume_compile(
    folder: str | Path, *, observer: Observer | None, progress: Progress | None
) -> CompileOutcome:
    """Resume the run in a folder.

    Raises:
        TrainingError: there is no such run.
    """
    recipe = RunFolder(Path(folder), CompileRecipe).to_resume()
    return run_compile(recipe, observer=observer, progress=progress)


def _compiler(
    recipe: CompileRecipe, observer: Observer | None, progress: Progress | None
) -> tuple[TextCompiler, TaskSpec, str]:
    """Everything read and checked; and a digest of what the run depends on."""
    spec = with_place(TaskSpec.parse(recipe.asked))
    content = read_text(Path(recipe.text))
    inputs, labelled = _inputs(recipe, spec, progress), _labelled(recipe, spec, progress)
    backbone = _backbone(recipe, progress)
    text = FullText.of(backbone, spec, content)
    asking: list[Record] | QuestionWriter = inputs
    if recipe.inputs is None:
        asking = QuestionWriter(text, recipe.questions, recipe.training.seed, recipe.folder)
    compiler = TextCompiler(
        text,
        asking,
        recipe.compiling,
        recipe.training,
        labelled=labelled,
        folder=recipe.folder,
        observer=observer,
    )
    rows = [[dict(record.texts), spec.target_text(record)] for record in labelled]
    return compiler, text.spec, key_of([compiler.key, rows])


def _backbone(recipe: CompileRecipe, progress: Progress | None) -> Backbone:
    return load_backbone(
        recipe.backbone,
        dtype=recipe.dtype,
        device=recipe.device,
        quantize=recipe.quantize,
        adapter=recipe.adapter,
        progress=progress,
    )


def _inputs(recipe: CompileRecipe, spec: TaskSpec, progress: Progress | None) -> list[Record]:
    """The inputs, without labels; none where the backbone is to write them."""
    if recipe.inputs is None:
        return []
    return unlabelled_rows(
        recipe.inputs, spec, text_field=recipe.text_field, limit=recipe.limit, progress=progress
    )


def _labelled(recipe: CompileRecipe, spec: TaskSpec, progress: Progress | None) -> list[Record]:
    if recipe.eval is None:
        return []
    return labelled_rows_of(recipe.eval, spec, text_field=recipe.text_field, progress=progress)
