"""Images that packages hold as arrays -> one `.npz` file with the labels as words."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cuecard.catalogue.datasets.subsets import unexpected_rows
from cuecard.catalogue.entries import DatasetEntry
from cuecard.catalogue.progress import Progress

Arrays = NDArray[Any]

_IDX = 0x800  # unsigned bytes; the number of dimensions is added
_SIDE = 32  # CIFAR's images, in pixels


def convert_idx(
    files: Sequence[Path], folder: Path, entry: DatasetEntry, progress: Progress, label: str
) -> None:
    """Write the subset of a package with IDX files (http://yann.lecun.com/exdb/mnist/).

    Args:
        files: gzipped: training images, training labels, test images, test labels.
        folder: an existing, empty folder.
        entry: its labels by their number in the files.
        progress: called after each part with the images so far.
        label: what to call the work there.

    Raises:
        CatalogueError: another number of images, or a label that is not the entry's.
        ValueError, struct.error, OSError: no IDX files.
    """
    arrays = {"train": files[:2], "test": files[2:]}
    parts = {part: (_idx(images, 3), _idx(rows, 1)) for part, (images, rows) in arrays.items()}
    _write(folder, entry, parts, files[0], progress, label)


def convert_strips(
    files: Sequence[Path], folder: Path, entry: DatasetEntry, progress: Progress, label: str
) -> None:
    """Write the subset of a package with images as the rows of PNG files; see `convert_idx`.

    Args:
        files: JSON lists of the training and the test labels' numbers, a PNG of test images, PNGs
            of training images: a row is an image of 32 x 32 pixels, row by row.
    """
    train, test, held_out, *strips = files
    images = {"train": np.concatenate([_strip(p) for p in strips]), "test": _strip(held_out)}
    numbers = {"train": train, "test": test}
    parts = {
        part: (images[part], np.array(json.loads(path.read_text())))
        for part, path in numbers.items()
    }
    _write(folder, entry, parts, held_out, progress, label)


def convert_medmnist(
    files: Sequence[Path], folder: Path, entry: DatasetEntry, progress: Progress, label: str
) -> None:
    """Write the subset of a package with a set of MedMNIST (arXiv:2110.14795); see `convert_idx`.

    Args:
        files: its `.npz` file.
    """
    (file,) = files
    with np.load(file, allow_pickle=False) as found:
        parts = {
            part: (found[f"{part}_images"], found[f"{part}_labels"].reshape(-1))
            for part in ("train", "val", "test")
        }
    _write(folder, entry, parts, file, progress, label)


def _write(
    folder: Path,
    entry: DatasetEntry,
    parts: dict[str, tuple[Arrays, Arrays]],
    source: Path,
    progress: Progress,
    label: str,
) -> None:
    """Write `<subset>.npz`: for each part images [n, h, w] or [n, h, w, 3] and labels [n]."""
    ((subset, total),) = entry.subsets.items()
    names = np.array(entry.labels)
    found: dict[str, Arrays] = {}
    done = 0
    for part, (images, numbers) in parts.items():
        if len(images) != len(numbers) or numbers.min() < 0 or numbers.max() >= len(names):
            got = f"{len(images)} images, {len(numbers)} labels from {numbers.min()} to "
            raise unexpected_rows(source, f"{got}{numbers.max()}", f"{len(names)} labels")
        found[f"{part}_images"] = images
        found[f"{part}_labels"] = names[numbers]
        done += len(images)
        progress(label, done, total)
    if done != total:
        raise unexpected_rows(source, done, total)
    # Uncompressed: to read a packed one would take longer each time than its pixels are worth.
    np.savez(folder / f"{subset}{entry.suffix}", **found)  # type: ignore[arg-type]


def _idx(path: Path, rank: int) -> Arrays:
    with gzip.open(path, "rb") as file:
        magic, *shape = struct.unpack(f">{1 + rank}I", file.read(4 + 4 * rank))
        if magic != _IDX + rank:
            raise ValueError(f"{path.name} is no IDX file of {rank} dimensions: {magic:#x}")
        return np.frombuffer(file.read(), np.uint8).reshape(shape)


def _strip(path: Path) -> Arrays:
    with Image.open(path, formats=["PNG"]) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    return pixels.reshape(len(pixels), _SIDE, _SIDE, 3)
