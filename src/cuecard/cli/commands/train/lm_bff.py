"""`cuecard lm-bff`: a prompt in front of solved rows, and the mean of several sets of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cuecard.cli.options import RESUME, Overwrite
from cuecard.cli.recipe_flags import RECIPE, Given, refuse
from cuecard.cli.views.console import Json, console, print_json
from cuecard.cli.views.tables import print_table, say, say_line
from cuecard.cli.views.usage_line import predict_command

if TYPE_CHECKING:
    from cuecard.runs.few_shot.lm_bff_recipe import DemonstrationOutcome
    from cuecard.types import Record

# What a run's recipe says that is nothing to this command.
_UNUSED = ("seeds", "keep", "training.budget", "allow", "compare")
_WIDTH = 30  # of a shown row's beginning


def lm_bff(
    given: Annotated[Given, RECIPE],
    sets: Annotated[
        int | None,
        typer.Option(
            help="Sets of demonstrations, each a row of every label.  [default: 4]",
            show_default=False,
        ),
    ] = None,
    typical: Annotated[
        bool | None,
        typer.Option(
            "--typical/--any",
            help="Show none of the half of the rows that are least like the others, or any.  "
            "[default: typical]",
            show_default=False,
        ),
    ] = None,
    resume_folder: Annotated[Path | None, RESUME] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train a prompt in front of solved rows, and answer with several sets of them (LM-BFF).

    Every step shows one of the sets; validation and test are of all of them, the test of the mean
    of their answers. The folder (`--out`, by default runs/DATA-lm-bff) gets a run of each set in
    `sets`, and the prompt with the best set in `prompt`. `cuecard ensemble` asks all of them.

    Example: cuecard lm-bff reviews.csv --shots 16 --word positive=great --word negative=bad

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C (the checkpoint is saved).
    """
    from cuecard.cli.views.progress import TrainView, fetch_progress
    from cuecard.runs.few_shot.lm_bff_recipe import (
        DemonstrationRecipe,
        resume_lm_bff,
        run_lm_bff,
    )

    own = {"sets": sets, "typical": typical}
    if resume_folder is not None:
        more = {f"--{name}": value for name, value in own.items()}
        more["--overwrite"] = overwrite or None
        refuse([*given.flags.values(), *(flag for flag in more if more[flag] is not None)], "a run")
        with TrainView(json=as_json) as view, fetch_progress(json=as_json) as progress:
            outcome = resume_lm_bff(resume_folder, observer=view, progress=progress)
    else:
        recipe = given.recipe("cuecard lm-bff", unused=_UNUSED)
        values = {name: value for name, value in own.items() if value is not None}
        plan = DemonstrationRecipe.parse({"recipe": recipe, **values}, "the command line")
        with TrainView(json=as_json) as view, fetch_progress(json=as_json) as progress:
            outcome = run_lm_bff(plan, observer=view, progress=progress, overwrite=overwrite)
    print_json(_summary(outcome)) if as_json else _print(outcome, console())


def _print(outcome: DemonstrationOutcome, out: Console) -> None:
    from cuecard.cli.views.evaluation import in_words

    found = outcome.found
    rows = [
        (
            str(number),
            " | ".join(_beginning(record) for record in shown),
            f"{run.validation.loss:.4f}",
            f"{run.validation.accuracy:.3f}",
            "-" if run.test is None else f"{run.test.score:.3f}",
        )
        for number, (run, shown) in enumerate(zip(found.runs, found.shown, strict=True), 1)
    ]
    print_table(out, ("set", "shown", "validation loss", "accuracy", "test"), rows, left=("shown",))
    if found.test is not None:
        say(out, f"all {len(rows)} together: {in_words(found.test, 'test row')}")
    best = found.best.prompt
    say_line(out, f"\nprompt  {found.folder}/prompt  ({best.nbytes:,} bytes, the best set)")
    say_line(out, f"all     cuecard ensemble ROWS {found.folder}/sets/*")
    assert found.folder is not None
    say_line(out, f"use it  {predict_command(best.spec, found.folder)}")


def _beginning(record: Record) -> str:
    """A row's first words."""
    text = " ".join(" ".join(record.texts.values()).split())
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."


def _summary(outcome: DemonstrationOutcome) -> dict[str, Any]:
    from cuecard.evaluation.report import plain

    found = outcome.found
    said: dict[str, Any] = {
        "event": "result",
        "folder": found.folder,
        "digest": found.best.prompt.digest,
        "validation": found.validation,
        "sets": [
            {
                "folder": run.folder,
                "digest": run.prompt.digest,
                "shown": [dict(record.texts) for record in shown],
                "validation": run.validation,
                "test": None if run.test is None else run.test.to_dict(),
            }
            for run, shown in zip(found.runs, found.shown, strict=True)
        ],
    }
    if found.test is not None:
        said["test"] = found.test.to_dict()
    return dict(plain(said))
