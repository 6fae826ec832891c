"""`cuecard delete`: take a version away, or end an alias."""

from __future__ import annotations

from typing import Annotated

import typer

from cuecard.cli.completion import completer, version_names
from cuecard.cli.registry_options import DEFAULT_REGISTRY, RegistryPlace, Why
from cuecard.cli.views.console import Json, print_json


def delete(
    what: Annotated[
        str,
        typer.Argument(
            metavar="VERSION",
            help="NAME@NUMBER for a version, NAME@ALIAS for an alias alone.",
            show_default=False,
            autocompletion=completer(version_names),
        ),
    ],
    why: Why = "",
    registry: RegistryPlace = DEFAULT_REGISTRY,
    as_json: Json = False,
) -> None:
    """Delete a version that no alias points to, or an alias. Numbers are never reused.

    The version's record stays; `cuecard gc` removes its files after a while.

    Example: cuecard delete reviews@2 --why "trained on the wrong rows"

    Exit codes: 0 done, 2 bad input.
    """
    from cuecard.registry import Registry

    Registry(registry).delete(what, why=why)
    if as_json:
        print_json({"deleted": what})
    else:
        typer.echo(f"deleted {what}")
