"""`cuecard graphrag validate`: a project's prompts, before GraphRAG uses them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cuecard.cli.views.console import Json, console, print_json


def validate(
    root: Annotated[
        Path,
        typer.Option("--root", metavar="FOLDER", help="The project's folder."),
    ] = Path(),
    dialect: Annotated[
        Literal["graphrag", "graphrag-2"],
        typer.Option(help="Its GraphRAG: graphrag is version 3, graphrag-2 is 0.3 to 2."),
    ] = "graphrag",
    as_json: Json = False,
) -> None:
    """Check a GraphRAG project's prompts for what would stop or spoil an index run.

    Each prompt that the settings name is formatted as GraphRAG formats it: placeholders that are
    missing or unknown, braces that are not doubled, delimiters that are not shown, missing files.

    Example: cuecard graphrag validate --root project

    Exit codes: 0 nothing is wrong, 2 something is, or bad input.
    """
    from cuecard.cli.views.tables import print_table, say
    from cuecard.graphrag.project.validate import check_project
    from cuecard.graphrag.prompts.dialects import DIALECTS
    from cuecard.validation_text import counted

    found = check_project(root, DIALECTS[dialect].slots)
    if as_json:
        print_json({"ok": not found.faults, **found.to_dict()})
    else:
        out = console()
        columns = ("setting", "prompt")
        print_table(out, columns, list(found.prompts.items()), left=columns)
        for fault in found.faults:
            say(out, f"{fault.where}: {fault.what}")
        for note in found.notes:
            say(out, f"{note.where}: {note.what} (an index run does not need it)")
        say(out, counted(len(found.faults), "fault") if found.faults else "nothing is wrong")
    if found.faults:
        raise typer.Exit(2)
