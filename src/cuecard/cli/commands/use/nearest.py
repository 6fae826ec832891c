"""`cuecard nearest`: the saved prompts that are most like one, to start a new task from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cuecard.cli.sources import SavedSource
from cuecard.cli.views.console import Json, console, print_json
from cuecard.cli.views.tables import print_table, say


def nearest(
    source: SavedSource,
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER",
            help="Prompts, runs, or folders of them, searched all the way down.",
            show_default=False,
        ),
    ],
    count: Annotated[int, typer.Option(min=1, help="How many to show.")] = 10,
    as_json: Json = False,
) -> None:
    """Rank saved prompts by their similarity to one. No backbone is loaded.

    Train a prompt for a few steps, find the nearest finished one, and start from that:
    --init-prompt (SPoT, Vu et al. 2022).

    Example: cuecard nearest runs/tickets runs

    Exit codes: 0 done, 2 bad input.
    """
    from cuecard.artifacts.nearest import nearest_prompts

    found, skipped = nearest_prompts(source.find().prompt, folders)
    shown = found[:count]
    if as_json:
        print_json(
            {
                "nearest": [
                    {
                        "folder": one.folder,
                        "digest": one.prompt.digest,
                        "method": one.prompt.manifest.method,
                        "mean": one.similarity.mean,
                        "pairs": one.similarity.pairs,
                    }
                    for one in shown
                ],
                "skipped": skipped,
            }
        )
        return
    rows = []
    for one in shown:
        numbers = f"{one.similarity.mean:.3f}", f"{one.similarity.pairs:.3f}"
        rows.append((str(one.folder), one.prompt.manifest.method, *numbers))
    out = console()
    columns = ("prompt", "method", "cosine of means", "mean cosine of pairs")
    if rows:
        print_table(out, columns, rows, left=("method",))
    else:
        say(out, "no other prompt of this size there")
    for other in skipped:
        say(out, f"left out: {other.folder}: {other.reason}")
