"""Compile a text, or several at once, and leave a report in each one's folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuecard.catalogue import Progress
from cuecard.errors import ConfigError
from cuecard.names import load_backbone
from cuecard.progress_bar import with_progress_bar
from cuecard.runs.compiling.recipe import CompileRecipe
from cuecard.runs.compiling.report import report_of, write_report
from cuecard.runs.compiling.rows import labelled_rows_of, text_and_template, unlabelled_rows
from cuecard.runs.folder import RunFolder
from cuecard.tasks import TaskSpec
from cuecard.tasks.readers.text_files import read_text
from cuecard.training.compiling.compiler import TextCompiler
from cuecard.training.compiling.full_text import FullText, with_place
from cuecard.training.compiling.library import TextLibrary
from cuecard.training.compiling.outcome import CompileRun
from cuecard.training.compiling.questions import QuestionWriter
from cuecard.training.distilling.together import TRAINING
from cuecard.training.setup import key_of
from cuecard.training.storage.log import Observer
from cuecard.types import Backbone, Record

FOLDER = Path("runs") / "texts-compile"
"""Where the runs of several texts go by default."""


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
    recipes: Mapping[str, CompileRecipe],
    folder: Path,
    *,
    observer: Observer | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> dict[str, CompileOutcome]:
    """Compile as the recipes say; one backbone is loaded, and what is not finished is trained.

    Args:
        recipes: by name, of one backbone; of several each has the folder `folder/NAME`.
        folder: gets the checkpoint that the trainings share.
        overwrite: start again where a folder holds another run.

    Raises:
        ConfigError: recipes of several backbones.
        CuecardError: see `FullText.of` and `TextCompiler`; files that cannot be read.
    """
    _check_one_backbone(recipes)
    places = {name: RunFolder.of(recipe) for name, recipe in recipes.items()}
    for name, recipe in recipes.items():
        places[name].check(recipe, overwrite=overwrite)
    made = _compilers(recipes, observer, progress)
    with ExitStack() as claims:
        for name, recipe in recipes.items():
            claim = places[name].claimed(recipe, overwrite=overwrite, fits=made[name][0].fits)
            claims.enter_context(claim)
        if overwrite:  # each one's own state is gone by now
            shutil.rmtree(folder / TRAINING, ignore_errors=True)
        reports = {name: places[name].report(key, ["prompt"]) for name, (_, _, key) in made.items()}
        left = {name: made[name][0] for name, report in reports.items() if report is None}
        runs = _run(left, folder, observer, alone=len(recipes) == 1)
        found = {}
        for name, recipe in recipes.items():
            _, spec, key = made[name]
            report = reports[name]
            if report is None:
                report = {**report_of(runs[name], recipe), "key": key}
                write_report(report, recipe.folder, title=Path(recipe.text).name)
            found[name] = CompileOutcome(spec, recipe.folder, report)
        return found


def _check_one_backbone(recipes: Mapping[str, CompileRecipe]) -> None:
    """Refuse runs that were not begun together, such as those of a folder of runs."""
    found = {
        name: (one.backbone, one.quantize, one.adapter, one.dtype, one.device)
        for name, one in recipes.items()
    }
    if len({*found.values()}) > 1:
        raise ConfigError(
            "these compilations are not of one backbone",
            where=str(next(iter(recipes.values())).folder.parent),
            got="; ".join(f"{name}: {values[0]}" for name, values in found.items()),
            expected="the folder of texts that were compiled together, or of one text",
        )


def _run(
    compilers: Mapping[str, TextCompiler], folder: Path, observer: Observer | None, *, alone: bool
) -> dict[str, CompileRun]:
    """What comes of each.

    Args:
        alone: the only text, whose folder is the run's.
    """
    if alone or not compilers:
        return {name: one.run() for name, one in compilers.items()}
    return TextLibrary(compilers, folder=folder, observer=observer).run()


def plan_compile(
    recipes: Mapping[str, CompileRecipe],
    *,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> dict[str, dict[str, Any]]:
    """What each compilation would take, without asking or training anything.

    Raises:
        CuecardError: whatever `run_compile` would refuse before its first answer.
    """
    for recipe in recipes.values():
        RunFolder.of(recipe).check(recipe, overwrite=overwrite)
    made = _compilers(recipes, None, progress)
    return {
        name: {"folder": str(recipe.folder), **made[name][0].plan()}
        for name, recipe in recipes.items()
    }


def runs_in(folder: Path) -> dict[str, CompileRecipe]:
    """The recipes of the runs that `run_compile` began in a folder; none where it began none.

    Raises:
        TrainingError: the working directory is not that in which they were begun.
        ConfigError: a recipe that cannot be read.
    """
    files = sorted(folder.glob(f"*/{CompileRecipe.KIND.file}"))
    places = [RunFolder(file.parent, CompileRecipe) for file in files]
    return {place.path.name: place.to_resume() for place in places}


def names_of(texts: Sequence[str]) -> dict[str, str]:
    """The files by their names, without folders and endings.

    Raises:
        ConfigError: two of one name.
    """
    found: dict[str, str] = {}
    for text in texts:
        name = Path(text).stem
        if name in found:
            raise ConfigError(
                "two texts have one name",
                where="TEXT",
                got=f"{found[name]} and {text}",
                expected="names that differ: rename a file, or compile one after the other",
            )
        found[name] = text
    return found


@dataclass(frozen=True)
class _Files:
    """What a recipe's files hold."""

    recipe: CompileRecipe
    spec: TaskSpec
    text: str
    inputs: Sequence[Record]
    labelled: Sequence[Record]

    @classmethod
    def of(cls, recipe: CompileRecipe, progress: Progress | None) -> _Files:
        content, asked = read_text(Path(recipe.text)), recipe.asked
        if recipe.input_field is not None:
            content, asked["template"] = text_and_template(recipe.text, content, recipe.input_field)
        spec = with_place(TaskSpec.parse(asked))
        inputs, labelled = _inputs(recipe, spec, progress), _labelled(recipe, spec, progress)
        return cls(recipe, spec, content, inputs, labelled)

    def compiler(
        self, backbone: Backbone, observer: Observer | None
    ) -> tuple[TextCompiler, TaskSpec, str]:
        """The compiler; what is asked; and a digest of what the run depends on."""
        recipe, text = self.recipe, FullText.of(backbone, self.spec, self.text)
        asking: Sequence[Record] | QuestionWriter = self.inputs
        if recipe.inputs is None:
            asking = QuestionWriter(text, recipe.questions, recipe.training.seed, recipe.folder)
        compiler = TextCompiler(
            text,
            asking,
            recipe.compiling,
            recipe.training,
            labelled=self.labelled,
            folder=recipe.folder,
            observer=observer,
        )
        rows = [[dict(record.texts), self.spec.target_text(record)] for record in self.labelled]
        return compiler, text.spec, key_of([compiler.key, rows])


def _compilers(
    recipes: Mapping[str, CompileRecipe], observer: Observer | None, progress: Progress | None
) -> dict[str, tuple[TextCompiler, TaskSpec, str]]:
    """Each one's compiler, task and digest; files are read before the backbone is loaded."""
    files = {name: _Files.of(recipe, progress) for name, recipe in recipes.items()}
    backbone = _backbone(next(iter(recipes.values())), progress)
    return {name: one.compiler(backbone, observer) for name, one in files.items()}


def _backbone(recipe: CompileRecipe, progress: Progress | None) -> Backbone:
    """The recipe's backbone, loaded."""
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
