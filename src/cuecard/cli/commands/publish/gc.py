"""`cuecard gc`: remove what no version needs."""

from __future__ import annotations

from typing import Annotated

import typer

from cuecard.cli.registry_options import DEFAULT_REGISTRY, RegistryPlace
from cuecard.cli.views.console import Json, print_json
from cuecard.validation_text import counted


def gc(
    grace: Annotated[
        str,
        typer.Option(
            metavar="PERIOD",
            help="Keep files younger than this, by the store's clock: 30m, 12h, 7d, 0.",
        ),
    ] = "7d",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be removed, and remove nothing.")
    ] = False,
    registry: RegistryPlace = DEFAULT_REGISTRY,
    as_json: Json = False,
) -> None:
    """Remove what deleted versions and killed processes left behind. Pushes may run meanwhile.

    Example: cuecard gc --grace 30d --dry-run

    Exit codes: 0 done, 2 bad input.
    """
    from cuecard.registry import Registry
    from cuecard.registry.gc import collect_garbage, parse_duration

    done = collect_garbage(Registry(registry), grace=parse_duration(grace), dry_run=dry_run)
    if as_json:
        print_json(
            {
                "blobs": done.blobs,
                "leftovers": done.leftovers,
                "kept": done.kept,
                "dry_run": dry_run,
            }
        )
    else:
        verb = "would remove" if dry_run else "removed"
        typer.echo(
            f"{verb} {counted(len(done.blobs), 'blob')} and {counted(done.leftovers, 'leftover')}; "
            f"{counted(done.kept, 'unused blob')} kept for now"
        )
