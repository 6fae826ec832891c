"""`cuecard export`: a prompt in the forms that other engines read."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cuecard.cli.options import Overwrite
from cuecard.cli.sources import SavedSource
from cuecard.cli.views.console import Json, print_json
from cuecard.errors import CuecardWarning

if TYPE_CHECKING:
    from cuecard.tasks import TaskSpec
    from cuecard.types import Record

Form = Literal[
    "peft",
    "peft-p-tuning",
    "peft-multitask",
    "peft-cartridge",
    "npy",
    "safetensors",
    "text",
    "dspy",
    "promptfoo",
]


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
            "for engines without torch. Of words: the exact string that is sent (text), a program "
            "for DSPy, or a configuration for promptfoo."
        ),
    ] = "peft",
    tests: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="For promptfoo: labelled rows, which become its tests.",
            show_default=False,
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Export a prompt for another engine. No backbone is loaded.

    Example: cuecard export runs/reviews reviews.npy --form npy

    Example: cuecard export runs/reviews-search promptfooconfig.yaml --form promptfoo

    Exit codes: 0 done, 2 bad input.
    """
    from cuecard.artifacts.export import export as run_export
    from cuecard.artifacts.words import WRITERS, export_parts, export_words, found_words

    found = found_words(source.prompt) if form in WRITERS else None
    if found is not None:
        rows = [] if tests is None else _rows(found[1], None, tests)
        path = export_parts(*found, dest, form, tests=rows, overwrite=overwrite)
        _warn_of_the_rest(form, calibrated=False)
        print_json({"path": path, "form": form}) if as_json else typer.echo(f"{form}: {path}")
        return
    saved = source.find()
    opened = saved.prompt
    rows = [] if tests is None else _rows(saved.spec, saved.text_field, tests)
    if form in WRITERS or rows:
        path = export_words(opened, dest, form, tests=rows, overwrite=overwrite)
        _warn_of_the_rest(form, calibrated=opened.manifest.prior is not None)
    else:
        path = run_export(opened, dest, form, overwrite=overwrite)
    if as_json:
        print_json({"path": path, "form": form, "digest": opened.digest, "bytes": opened.nbytes})
    else:
        typer.echo(f"{form}: {path}")


def _rows(spec: TaskSpec, column: str | None, path: Path) -> list[Record]:
    from cuecard.tasks.readers.records import read_records

    return read_records(
        path,
        fields=spec.record_fields,
        target_field=spec.target_field,
        columns={} if column is None else {"text": column},
    )


def _warn_of_the_rest(form: str, *, calibrated: bool) -> None:
    """Say what a form has no place for."""
    if calibrated:
        text = "numbers are taken off the labels' scores here, which this form has no place for"
        warnings.warn(CuecardWarning(text), stacklevel=1)
    if form == "dspy":
        text = (
            "DSPy puts instructions and demonstrations into a string of its own: what is sent "
            "there is not what was tested here"
        )
        warnings.warn(CuecardWarning(text), stacklevel=1)
