"""`cuecard doctor`: what this machine has, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from cuecard.cli.console import Json, console, print_json

if TYPE_CHECKING:
    from cuecard.cli.doctor_checks import Check

_BROKEN = 2


def doctor(
    online: Annotated[
        bool, typer.Option("--online", help="Also ask the package index for the catalogue.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Look at Python, torch, the processor, memory, disk, the cache and the installed versions.

    Nothing is changed.

    Example: cuecard doctor --online

    Exit codes: 0 all is well, 2 something is broken.
    """
    from cuecard.cli.doctor_checks import checks

    found = checks(online=online)
    well = all(check.ok for check in found)
    if as_json:
        print_json({"ok": well, "checks": [check.to_dict() for check in found]})
    else:
        console().print(_table(found))
    if not well:
        raise typer.Exit(_BROKEN)


def _table(found: list[Check]) -> Table:
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in found:
        text = escape(check.detail) + (f"\n[dim]{escape(check.hint)}[/]" if check.hint else "")
        table.add_row(check.name, "ok" if check.ok else "[bold red]broken[/]", text)
    return table
