"""`cuecard show`: a prompt's versions and aliases, or one version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cuecard.cli.console import Json, console, print_json
from cuecard.cli.registry_options import DEFAULT_REGISTRY, RegistryPlace
from cuecard.errors import RegistryError

if TYPE_CHECKING:
    from cuecard.registry import AliasEvent, Version


def show(
    what: Annotated[
        str,
        typer.Argument(
            metavar="PROMPT",
            help="NAME for all versions and the aliases' logs, or NAME@NUMBER or NAME@ALIAS.",
            show_default=False,
        ),
    ],
    registry: RegistryPlace = DEFAULT_REGISTRY,
    as_json: Json = False,
) -> None:
    """Show a prompt's versions and every move of its aliases, or all about one version.

    Example: cuecard show reviews@production

    Exit codes: 0 done, 2 bad input.
    """
    from cuecard.registry import Registry
    from cuecard.registry.aliases import alias_names
    from cuecard.registry.references import check_name

    opened = Registry(registry)
    if "@" in what:
        version = opened.resolve(what)
        facts = version_facts(version)
        if as_json:
            print_json(facts)
        else:
            _print_facts(facts, console())
        return
    versions = opened.versions(check_name(what))
    if not versions:
        raise RegistryError("no such prompt", where=registry, got=what, hint="cuecard list")
    logs = {alias: opened.log(what, alias) for alias in alias_names(opened.store, what)}
    if as_json:
        print_json(
            {
                "name": what,
                "versions": [version_facts(version) for version in versions],
                "aliases": opened.aliases(what),
                "log": {alias: [event_facts(e) for e in log] for alias, log in logs.items()},
            }
        )
    else:
        _print_prompt(versions, logs, console())


def version_facts(version: Version) -> dict[str, Any]:
    """A version as JSON knows it."""
    record = version.record.model_dump(mode="json")
    return {
        "version": str(version),
        "deleted": version.deleted,
        "sha256": version.sha256,
        **record,
    }


def event_facts(event: AliasEvent) -> dict[str, Any]:
    """An alias's move as JSON knows it."""
    return event.model_dump(mode="json", by_alias=True, exclude={"schema_version", "id"})


def _print_facts(facts: dict[str, Any], out: Console) -> None:
    table = Table(show_header=False, box=None)
    for key, value in facts.items():
        if key == "files":
            value = "\n".join(
                f"{entry['size']:>12,}  {entry['sha256']}  {name}" for name, entry in value.items()
            )
        table.add_row(key, escape(str(value)))
    out.print(table)


def _print_prompt(versions: list[Version], logs: dict[str, list[AliasEvent]], out: Console) -> None:
    pointed = {log[-1].after: alias for alias, log in logs.items()}
    table = Table("version", "alias", "method", "backbone", "when", "who", "why")
    for version in versions:
        record = version.record
        table.add_row(
            str(version),
            pointed.get(version.number, "deleted" if version.deleted else ""),
            escape(record.method),
            escape(record.backbone.name),
            escape(record.at),
            escape(record.by),
            escape(record.why),
        )
    out.print(table)
    for alias, log in logs.items():
        moves = Table("", "move", "from", "to", "when", "who", "why", title=f"{alias}")
        for event in log:
            moves.add_row(
                str(event.seq),
                event.action,
                "-" if event.before is None else str(event.before),
                "-" if event.after is None else str(event.after),
                escape(event.at),
                escape(event.by),
                escape(event.why),
            )
        out.print(moves)
