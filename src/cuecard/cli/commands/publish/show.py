"""`cuecard show`: a prompt's versions and aliases, or one version."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cuecard.cli.completion import completer, prompt_names
from cuecard.cli.registry_options import DEFAULT_REGISTRY, RegistryPlace
from cuecard.cli.views.console import Json, console, print_json
from cuecard.cli.views.tables import print_facts, print_table
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
            autocompletion=completer(prompt_names),
        ),
    ],
    registry: RegistryPlace = DEFAULT_REGISTRY,
    as_json: Json = False,
) -> None:
    """Show a prompt's versions and its aliases' history, or everything about one version.

    Example: cuecard show reviews@production

    Exit codes: 0 done, 2 bad input.
    """
    from cuecard.registry import Registry
    from cuecard.registry.records.aliases import alias_names
    from cuecard.registry.records.references import check_name

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
    files = "\n".join(
        f"{name}  {entry['size']:,} bytes\n{entry['sha256']}"
        for name, entry in facts.get("files", {}).items()
    )
    shown = facts | ({"files": files} if files else {})
    print_facts(out, [(key, _said(value)) for key, value in shown.items()])


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _print_prompt(versions: list[Version], logs: dict[str, list[AliasEvent]], out: Console) -> None:
    pointed = {log[-1].after: alias for alias, log in logs.items()}
    columns = ("version", "alias", "method", "backbone", "when", "who", "why")
    rows = [
        (
            str(version),
            pointed.get(version.number, "deleted" if version.deleted else ""),
            version.record.method,
            version.record.backbone.name,
            version.record.at,
            version.record.by,
            version.record.why,
        )
        for version in versions
    ]
    print_table(out, columns, rows, left=columns)
    for alias, log in logs.items():
        moves = [
            (
                str(event.seq),
                event.action,
                "-" if event.before is None else str(event.before),
                "-" if event.after is None else str(event.after),
                event.at,
                event.by,
                event.why,
            )
            for event in log
        ]
        out.print()
        columns = ("move", "action", "from", "to", "when", "who", "why")
        print_table(out, columns, moves, left=("action", *columns[4:]), title=alias)
