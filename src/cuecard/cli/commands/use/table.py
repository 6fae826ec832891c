"""`cuecard table`: finished runs in one table, with means over their seeds."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cuecard.cli.output import check_place, writing
from cuecard.cli.views.console import Json, console, print_json


class TableForm(StrEnum):
    """How the table is written."""

    TEXT = "text"
    MARKDOWN = "markdown"
    CSV = "csv"
    LATEX = "latex"


def table(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of finished runs.")],
    form: Annotated[
        TableForm,
        typer.Option(help="As what: text for terminals, or for documents, spreadsheets, papers."),
    ] = TableForm.TEXT,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="FILE", help="Write it there; text as CSV.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Table finished runs: mean and standard deviation over runs that differ in their seed.

    Runs of one recipe and the same rows share a row for each prompt that their reports have: the
    trained one, and what it was compared with. The interval is over rows and seeds.

    Example: cuecard table runs/tickets runs/tickets-1 runs/tickets-2 --form latex

    Exit codes: 0 done, 2 bad input.
    """
    from cuecard.cli.views.tables import print_table
    from cuecard.comparison.runs_table import runs_table
    from cuecard.comparison.table_files import as_csv, as_latex
    from cuecard.evaluation.report import markdown_cells
    from cuecard.plain_files import write_text
    from cuecard.runs.tabled import read_tabled

    check_place(output, "--output")
    found = runs_table(read_tabled(runs))
    cells = [row.cells() for row in found.rows]
    if form is TableForm.MARKDOWN:
        text = markdown_cells(cells, columns=found.columns)
    elif form is TableForm.LATEX:
        text = as_latex(found.columns, cells)
    else:
        text = as_csv(found.names, [row.values() for row in found.rows])
    if output is not None:
        with writing("--output"):
            write_text(text, output)
    if as_json:
        rows = [dict(zip(found.names, row.values(), strict=True)) for row in found.rows]
        print_json({"rows": rows})
    elif output is not None:
        typer.echo(f"table   {output}")
    elif form is TableForm.TEXT:
        print_table(console(), found.columns, cells, left=("runs", "prompt"))
    else:
        typer.echo(text, nl=False)
