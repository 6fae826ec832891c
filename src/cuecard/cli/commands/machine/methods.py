"""`cuecard methods`: what can be trained, its settings, and where it works."""

from __future__ import annotations

import json

from cuecard.cli.views.console import Json, console, print_json
from cuecard.cli.views.tables import print_table


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
    columns = (*headings(), "settings")
    settings = [" ".join(f"{k}={json.dumps(v)}" for k, v in row.settings.items()) for row in rows]
    shown = [(*cells(row), said) for row, said in zip(rows, settings, strict=True)]
    print_table(console(), columns, shown, left=columns)
