"""`cuecard doctor`: what this machine has, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from cuecard.cli.views.console import Json, console, print_json
from cuecard.cli.views.tables import as_text

if TYPE_CHECKING:
    from cuecard.cli.commands.machine.doctor_checks import Check

_BROKEN = 2


def doctor(
    online: Annotated[
        bool, typer.Option("--online", help="Also ask the package index for the catalogue.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check Python, torch, the processor, memory, disk, the cache and the installed versions.

    Nothing is changed.

    Example: cuecard doctor --online

    Exit codes: 0 all is well, 2 something is broken.
    """
    from cuecard.cli.commands.machine.doctor_checks import checks

    found = checks(online=online)
    well = all(check.ok for check in found)
    if as_json:
        print_json({"ok": well, "checks": [check.to_dict() for check in found]})
    else:
        _print(found, console())
    if not well:
        raise typer.Exit(_BROKEN)


def _print(found: list[Check], out: Console) -> None:
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in found:
        said = as_text(check.detail)
        if check.hint:
            said.append_text(as_text(f"\n{check.hint}", "dim"))
        state = as_text("ok") if check.ok else as_text("broken", "bold red")
        table.add_row(as_text(check.name), state, said)
    out.print(table)
