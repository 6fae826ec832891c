"""`cuecard export`: a prompt in the forms that other engines read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cuecard.cli.options import Overwrite
from cuecard.cli.sources import SavedSource
from cuecard.cli.views.console import Json, print_json

Form = Literal["peft", "peft-p-tuning", "peft-multitask", "npy", "safetensors"]


def export(
    source: SavedSource,
    dest: Annotated[
        Path,
        typer.Argument(
            metavar="DEST", help="The file to write; for peft the folder.", show_default=False
        ),
    ],
    form: Annotated[
        Form,
        typer.Option(
            help="An adapter folder for PEFT, the array for numpy, or the array with its digest "
            "for engines without torch."
        ),
    ] = "peft",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Export a prompt for another engine. No backbone is loaded.

    Example: cuecard export runs/reviews reviews.npy --form npy

    Exit codes: 0 done, 2 bad input.
    """
    from cuecard.artifacts.export import export as run_export

    opened = source.find().prompt
    path = run_export(opened, dest, form, overwrite=overwrite)
    if as_json:
        print_json({"path": path, "form": form, "digest": opened.digest, "bytes": opened.nbytes})
    else:
        typer.echo(f"{form}: {path}")
