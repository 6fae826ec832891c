"""What `pip install -r deploy/requirements-serve.txt` brings, of what is installed here."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
NEEDED = ROOT / "deploy" / "requirements-serve.txt"


def requirements(text: str) -> list[Requirement]:
    """The lines of a requirements file."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return [Requirement(line) for line in lines if line]


def with_dependencies(wanted: list[Requirement]) -> dict[str, importlib.metadata.Distribution]:
    """The distributions that an installer brings, by name; those of this environment."""
    found: dict[str, importlib.metadata.Distribution] = {}
    while wanted:
        asked = wanted.pop()
        name = asked.name.lower().replace("_", "-")
        if name in found:
            continue
        found[name] = importlib.metadata.distribution(asked.name)
        more = [Requirement(line) for line in found[name].requires or ()]
        extras = [{"extra": extra} for extra in ("", *asked.extras)]
        wanted += [
            one for one in more if one.marker is None or any(map(one.marker.evaluate, extras))
        ]
    return found
