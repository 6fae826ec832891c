"""What an install of cuecard with some of its extras brings, of what is installed here."""

from __future__ import annotations

import importlib.metadata
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def declared(*extras: str) -> list[Requirement]:
    """cuecard's own requirements with these extras, those of extras in extras included."""
    lines = list(PROJECT["dependencies"])
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    found: list[Requirement] = []
    for each in map(Requirement, lines):
        if each.name == PROJECT["name"]:
            found += declared(*each.extras)
        else:
            found.append(each)
    return found


def installed_with(*extras: str) -> dict[str, importlib.metadata.Distribution]:
    """The distributions that an installer brings, by name; those of this environment."""
    wanted = declared(*extras)
    seen: set[tuple[str, frozenset[str]]] = set()
    found: dict[str, importlib.metadata.Distribution] = {}
    while wanted:
        asked = wanted.pop()
        name = asked.name.lower().replace("_", "-")
        if (name, frozenset(asked.extras)) not in seen:
            seen.add((name, frozenset(asked.extras)))
            found[name] = importlib.metadata.distribution(asked.name)
            wanted += _required(found[name], asked)
    return found


def _required(found: importlib.metadata.Distribution, asked: Requirement) -> Iterator[Requirement]:
    for one in map(Requirement, found.requires or ()):
        extras = [{"extra": extra} for extra in ("", *asked.extras)]
        if one.marker is None or any(map(one.marker.evaluate, extras)):
            yield one


def link_packages(folder: Path, *extras: str) -> Path:
    """Fill a folder with links to what such an install has; for `python -S`."""
    folder.mkdir(exist_ok=True)
    for found in installed_with(*extras).values():
        for name in {path.parts[0] for path in found.files or ()} - {"..", "__pycache__"}:
            if not (folder / name).exists():
                (folder / name).symlink_to(Path(str(found.locate_file(name))))
    return folder
