"""`cuecard transfer`: start a new task from the saved prompt that helps most, if any does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cuecard.cli.fields import Asked, Fields, Flag
from cuecard.cli.options import RESUME, Overwrite
from cuecard.cli.recipe_flags import RECIPE, Given, refuse
from cuecard.cli.views.console import Json, console, print_json
from cuecard.cli.views.tables import print_table, say, say_line
from cuecard.errors import ConfigError
from cuecard.training.transfer.settings import TransferConfig

if TYPE_CHECKING:
    from cuecard.runs.transfer_recipe import TransferOutcome, TransferRecipe

SEARCH = Fields(
    TransferConfig,
    {"sources": Flag(), "search_steps": Flag(), "rows": Flag("--search-rows")},
    titles=dict.fromkeys(TransferConfig.model_fields, "Search"),
)


def transfer(
    given: Annotated[Given, RECIPE],
    own: Annotated[Asked[TransferConfig], SEARCH],
    places: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="PLACE",
            help="Saved prompts: a registry, runs, or folders of them; may be repeated.",
            show_default=False,
        ),
    ] = None,
    resume_folder: Annotated[Path | None, RESUME] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    r"""Train a prompt from the saved prompt that helps a new task most, or from none of them.

    Every saved prompt of the same backbone is scored on validation rows untrained; those with the
    best scores, those most like the task's own prompt (SPoT), what a multitask run shares (MPT) and
    a mix of all by attention (ATTEMPT) are trained for a few steps beside the usual start, all for
    as many. The best on validation rows
    is trained to the end and tested once. The folder (`--out`, by default runs/DATA-transfer) gets
    `transfer.md`, `transfer.json` and the run in `best`.

    Example: cuecard transfer tickets.csv --label-field team --from runs --out runs/tickets

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C (the checkpoint is saved).
    """
    from cuecard.cli.views.progress import TrainView, fetch_progress
    from cuecard.runs.transfer_recipe import resume_transfer, run_transfer

    with TrainView(json=as_json) as view, fetch_progress(json=as_json) as progress:
        options: dict[str, Any] = {"observer": view, "progress": progress}
        if resume_folder is not None:
            more = {"--from": places, "--overwrite": overwrite}
            others = [flag for flag in more if more[flag]]
            refuse([*given.flags.values(), *own.flags.values(), *others], "a transfer")
            done = resume_transfer(resume_folder, **options)
        else:
            plan = _plan(given, own, places or [])
            done = run_transfer(plan, overwrite=overwrite, **options)
    print_json(_summary(done)) if as_json else _print(done, console())


def _plan(given: Given, own: Asked[TransferConfig], places: list[str]) -> TransferRecipe:
    from cuecard.runs.transfer_recipe import TransferRecipe
    from cuecard.saved_prompts import prompt_library

    recipe = given.recipe("cuecard transfer", unused=("training.budget",))
    if not places:
        raise ConfigError(
            "there is no library of prompts",
            where="cuecard transfer",
            expected="--from with a registry or a folder of runs",
        )
    library = prompt_library(places, but=TransferRecipe.folder_of(recipe))
    return TransferRecipe(recipe=recipe, library=library, search=own.settings())


def _print(done: TransferOutcome, out: Console) -> None:
    from cuecard.cli.views.proof import print_outcome
    from cuecard.training.transfer.found import COLUMNS, MARKDOWN

    found, run = done.found, done.outcome.run
    chosen = [place for place, start in enumerate(found.starts) if start.name == found.chosen]
    out.print()
    print_table(out, COLUMNS, found.rows_of_table, bold=chosen, title="Starts, on validation rows")
    for name, why in found.left_out.items():
        say(out, f"left out: {name}: {why}")
    if done.outcome.proof is None:  # with a comparison it is among its notes
        say(out, found.text)
    print_outcome(done.outcome, out)
    assert run.folder is not None
    say_line(out, f"table   {run.folder.parent / MARKDOWN}")


def _summary(done: TransferOutcome) -> dict[str, Any]:
    from cuecard.cli.views.proof import summary
    from cuecard.evaluation.report import plain
    from cuecard.training.transfer.found import EVENT

    found: dict[str, Any] = plain({EVENT: done.found, "verdict": done.found.text})
    return {**summary(done.outcome), **found}
