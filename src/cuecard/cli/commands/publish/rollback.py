"""`cuecard rollback`: point an alias at where it was before."""

from __future__ import annotations

from typing import Annotated

import typer

from cuecard.cli.completion import completer, prompt_names
from cuecard.cli.registry_options import DEFAULT_REGISTRY, AliasName, RegistryPlace
from cuecard.cli.views.console import Json, print_json


def rollback(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="The prompt's name.",
            show_default=False,
            autocompletion=completer(prompt_names),
        ),
    ],
    alias: AliasName,
    why: Annotated[
        str, typer.Option("--why", metavar="TEXT", help="The reason.", show_default=False)
    ],
    registry: RegistryPlace = DEFAULT_REGISTRY,
    as_json: Json = False,
) -> None:
    """Point an alias back at its previous version; repeat to go back further.

    Example: cuecard rollback reviews production --why "answers are too long"

    Exit codes: 0 done, 2 bad input.
    """
    from cuecard.cli.commands.publish.show import event_facts
    from cuecard.registry import Registry

    event = Registry(registry).rollback(name, alias, why=why)
    if as_json:
        print_json(event_facts(event))
    else:
        typer.echo(f"{name}@{alias} -> {name}@{event.after}, previously {name}@{event.before}")
