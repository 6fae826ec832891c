"""`cuecard methods`: what can be trained, its settings, and where it works."""

from __future__ import annotations

import json

from rich.markup import escape
from rich.table import Table

from cuecard.cli.console import Json, console, print_json


def methods(as_json: Json = False) -> None:
    """List the methods: what each trains, where it works, its settings and their defaults.

    `cuecard train --method NAME --set method.SETTING=VALUE` uses them.

    Example: cuecard methods --json

    Exit codes: 0 done.
    """
    from cuecard.training.capabilities import capabilities, cells, headings

    rows = capabilities()
    if as_json:
        print_json({"methods": rows})
        return
    table = Table()
    for name in (*headings(), "settings"):
        table.add_column(name, overflow="fold")
    for row in rows:
        settings = " ".join(f"{k}={json.dumps(v)}" for k, v in row.settings.items())
        table.add_row(*(escape(cell) for cell in (*cells(row), settings)))
    console().print(table)
