"""The saved prompts of folders and registries, by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cuecard.artifacts.files import MANIFEST_FILE, SHARED_FILE
from cuecard.errors import ConfigError
from cuecard.registry import Registry
from cuecard.registry.registry import MARKER
from cuecard.saved_prompts.finding import pulled_prompt


def prompt_library(
    places: Sequence[str | Path], *, but: str | Path | None = None
) -> dict[str, str]:
    """The prompts of some places, by name: what `TransferRecipe.library` holds.

    Args:
        places: prompts, runs, folders of them, searched all the way down, and registries, of which
            the newest version of each name is pulled into the cache.
        but: a folder that is not searched.

    Returns:
        Name -> folder: of a run's prompt the run's path, NAME@NUMBER of a version.

    Raises:
        ConfigError: no such place, or no prompts in any of them.
        RegistryError: a registry that cannot be read.
    """
    found: dict[str, str] = {}
    for place in map(str, places):
        if "://" in place or (Path(place) / MARKER).is_file():
            found |= _newest(place)
        else:
            found |= _below(Path(place), None if but is None else Path(but).resolve())
    if not found:
        raise ConfigError(
            "there are no prompts to start from",
            where="--from",
            got=", ".join(map(str, places)),
            expected="a registry, or a folder with trained prompts in it",
        )
    return found


def _newest(url: str) -> dict[str, str]:
    """The newest version of each of a registry's names."""
    registry = Registry(url)
    live = {
        name: [version for version in registry.versions(name) if not version.deleted]
        for name in registry.names()
    }
    newest = [str(versions[-1]) for versions in live.values() if versions]
    return {reference: str(pulled_prompt(reference, url).folder) for reference in newest}


def _below(folder: Path, but: Path | None) -> dict[str, str]:
    """The prompts in a folder and everything below it, with what multitask runs share."""
    if not folder.is_dir():
        raise ConfigError(
            "no such folder", where="--from", got=str(folder), expected="a folder or a registry"
        )
    found = {}
    for file in (MANIFEST_FILE, SHARED_FILE):
        for path in sorted(folder.rglob(file)):
            place = path.parent
            if but is not None and place.resolve().is_relative_to(but):
                continue
            name = place.parent if place.name in ("prompt", "shared") else place
            found[str(name)] = str(place)
    return found
