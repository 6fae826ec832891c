"""Where commands print: people's output, or one JSON object for machines."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = 132  # where nobody said how wide the output is

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object instead of text.", show_default=False)
]


def console() -> Console:
    """Standard output; colours and redrawing only on a terminal, wide lines elsewhere."""
    if sys.stdout.isatty():
        return plain_console()
    return plain_console(soft_wrap=True, width=_WIDE)


def plain_console(**options: Any) -> Console:
    """A console to which text is text: no markup, no emoji codes, no colours of its own."""
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False, **options)


def print_json(value: Any) -> None:
    """Print a value as one JSON object, on standard output."""
    from cuecard.cli.boundary import json_line
    from cuecard.evaluation.report import plain

    typer.echo(json_line(plain(value)))
