"""`cuecard backbones`: the models of the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cuecard.cli.views.console import Json, console, print_json
from cuecard.cli.views.tables import print_table

if TYPE_CHECKING:
    from cuecard.catalogue import BackboneEntry


def backbones(as_json: Json = False) -> None:
    """List the catalogue's models: what they are, how large, and whether they are cached.

    A local folder or a hub id serves as a backbone too.

    Example: cuecard backbones --json

    Exit codes: 0 done.
    """
    from cuecard.catalogue import BACKBONES

    entries = [_facts(entry) for entry in BACKBONES.values()]
    if as_json:
        print_json({"backbones": entries})
        return
    columns = ("name", "family", "what", "size", "licence", "here")
    rows = []
    for entry in entries:
        size = (
            f"{entry['parameters'] / 1e6:,.0f}M parameters, "
            f"{entry['download_bytes'] / 1e6:,.0f} MB to fetch, "
            f"{entry['folder_bytes'] / 1e6:,.0f} MB on disk"
        )
        here = "yes" if entry["cached"] else "on first use"
        cells = (entry["name"], entry["family"], entry["description"], size, entry["license"], here)
        rows.append([str(cell) for cell in cells])
    print_table(console(), columns, rows, left=columns)


def _facts(entry: BackboneEntry) -> dict[str, Any]:
    from cuecard.catalogue.manifest import find_damage
    from cuecard.catalogue.resolve import entry_folder

    folder = entry_folder(entry)
    return {
        "name": entry.name,
        "family": entry.family,
        "description": entry.description,
        "parameters": entry.parameters,
        "download_bytes": sum(package.size for package in entry.packages),
        "folder_bytes": entry.folder_bytes,
        "license": entry.license,
        "source": entry.source,
        "cached": find_damage(folder, entry) is None,
        "folder": folder,
    }
