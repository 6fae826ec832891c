"""`cuecard errors`: the rows of a run that are worth looking at."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from cuecard.cli.output import check_place, writing
from cuecard.cli.views.console import Json, console, print_json
from cuecard.errors import DataError
from cuecard.validation_text import counted

_SHOWN = 10


def errors(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    answers: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE",
            help="More of its answers: files of `cuecard eval RUN DATA --predictions FILE`.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many rows of each list to show.  [10; all with --json and --csv]",
            show_default=False,
        ),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Write the rows as CSV.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """List a run's rows that are answered wrongly, unsurely, or probably mislabelled.

    Wrong answers come most confident first. An answer is unsure where the next label is less than
    0.2 less probable. Probably mislabelled are rows that count as another label by confident
    learning (Northcutt et al. 2021). Nothing is run: the answers are those to the test rows that
    the run has kept, and those in the files.

    Example: cuecard errors runs/tickets --csv check.csv

    Exit codes: 0 done, 2 bad input.
    """
    from cuecard.cli.views.errors import errors_csv, print_errors
    from cuecard.evaluation.cases.case import read_cases
    from cuecard.evaluation.cases.row_errors import find_row_errors
    from cuecard.plain_files import write_text
    from cuecard.saved_prompts import find_prompt

    check_place(csv, "--csv")
    saved = find_prompt(run)
    files = [_answers_of(saved.folder.parent, run), *(answers or ())]
    found = find_row_errors(saved.spec, [read_cases(file) for file in files])
    if csv is not None:
        with writing("--csv"):
            write_text(errors_csv(found, limit), csv)
    if as_json:
        print_json({"run": run, "answers": files, **found.to_dict(limit)})
    elif csv is not None:
        typer.echo(f"{counted(len(found.shown(limit)), 'row')} in {csv}")
    else:
        print_errors(found, str(run), limit or _SHOWN, console())


def _answers_of(folder: Path, run: Path) -> Path:
    """The file of answers to test rows in a run's folder.

    Raises:
        DataError: there is none.
    """
    from cuecard.training.storage.result import PREDICTIONS

    file, quoted = folder / PREDICTIONS, shlex.quote(str(run))
    if not file.is_file():
        raise DataError(
            "the run has kept no answers to test rows",
            where=str(run),
            got=f"no {PREDICTIONS}",
            expected="a run of cuecard train, lora or another command that tests its rows",
            hint=f"cuecard eval {quoted} DATA --predictions answers.jsonl writes some",
        )
    return file
