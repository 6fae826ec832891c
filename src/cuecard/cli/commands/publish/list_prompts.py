"""`cuecard list`: what a registry holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from cuecard.cli.registry_options import DEFAULT_REGISTRY, RegistryPlace
from cuecard.cli.views.console import Json, console, print_json
from cuecard.cli.views.tables import print_table

if TYPE_CHECKING:
    from cuecard.registry import Registry


def list_prompts(registry: RegistryPlace = DEFAULT_REGISTRY, as_json: Json = False) -> None:
    """List a registry's prompts with their newest versions and aliases.

    Example: cuecard list --registry s3://bucket/prompts

    Exit codes: 0 done, 2 bad input.
    """
    from cuecard.registry import Registry

    opened = Registry(registry)
    prompts = [_facts(opened, name) for name in opened.names()]
    if as_json:
        print_json({"registry": registry, "prompts": prompts})
        return
    if not prompts:
        typer.echo("no prompts yet")
        return
    rows = []
    for each in prompts:
        aliases = ", ".join(f"{alias} -> {number}" for alias, number in each["aliases"].items())
        newest = each["latest"]
        rows.append(
            (
                each["name"],
                str(each["versions"]),
                "-" if newest is None else f"{each['name']}@{newest}",
                each["backbone"] or "-",
                aliases or "-",
            )
        )
    columns = ("prompt", "versions", "newest", "backbone", "aliases")
    print_table(console(), columns, rows, left=columns[2:])


def _facts(registry: Registry, name: str) -> dict[str, Any]:
    live = [version for version in registry.versions(name) if not version.deleted]
    return {
        "name": name,
        "versions": len(live),
        "latest": live[-1].number if live else None,
        "backbone": live[-1].record.backbone.name if live else None,
        "aliases": registry.aliases(name),
    }
