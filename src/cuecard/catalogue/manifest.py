"""The list of a converted folder's files, by which a damaged cache is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cuecard.catalogue.entries import Entry

FILENAME = "manifest.json"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path, entry: Entry) -> None:
    """List every file of `folder` with its size and digest, in `manifest.json` there."""
    files = {
        path.relative_to(folder).as_posix(): {
            "size": path.stat().st_size,
            "sha256": sha256_of(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    document = {**_origin(entry), "license": entry.license, "files": files}
    text = json.dumps(document, indent=2, sort_keys=True)
    (folder / FILENAME).write_text(text + "\n", encoding="utf-8")


def find_damage(folder: Path, entry: Entry, *, deep: bool = False) -> str | None:
    """What is wrong with a converted folder, in a few words; None if nothing is.

    Sizes are compared, which takes no time; with `deep` every byte is read and hashed as well.
    """
    try:
        if not folder.is_dir():
            return "not there"
        document = json.loads((folder / FILENAME).read_text(encoding="utf-8"))
        listed: Mapping[str, Any] = document["files"]
        origin = {key: document[key] for key in _origin(entry)}
        if origin != _origin(entry):
            return "made from another package or by another converter"
        if not listed:
            return f"{FILENAME} lists no files"
        for name, facts in listed.items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != facts["size"]:
                return f"{name} has {path.stat().st_size} bytes, not {facts['size']}"
            if deep and sha256_of(path) != facts["sha256"]:
                return f"{name} has changed"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{FILENAME} cannot be read ({type(error).__name__})"
    return None


def _origin(entry: Entry) -> dict[str, str]:
    return {
        "name": entry.name,
        "package": f"{entry.package.name}=={entry.package.version}",
        "package_sha256": entry.package.sha256,
        "converter": entry.converter,
        **({"joined_sha256": entry.joined.sha256} if entry.joined else {}),
    }
