from __future__ import annotations

import gzip
import json
import random
import struct
import warnings
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from cuecard.errors import ConfigError, CuecardError, DataError, DataWarning
from cuecard.images import pixels_of
from cuecard.tasks import Task
from cuecard.tasks.readers.records import read_records, read_splits
from cuecard.types import Image, Record
from support.tiny_vision import LABELS, SPEC, drawn, pictures, save_pictures

ARRAYS = np.random.default_rng(0).integers(0, 255, (40, 9, 7), dtype=np.uint8)
NUMBERS = np.arange(40) % 11


def read(path: Path, target: str | None = "label", **options: Any) -> list[Record]:
    readers = SPEC.readers(target)
    return read_records(path, fields=("image",), target_field=target, readers=readers, **options)


def save(image: Image, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels_of(image).save(path)
    return path


def task_of(path: Path, **options: Any) -> Task:
    return Task.from_file(path, kind="image-classification", split=(0.6, 0.2, 0.2), **options)


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path / "set", 24)
    found = read(folder)
    assert [r.target for r in found] == ["disc"] * 12 + ["stripes"] * 12
    assert found[0].source == str(folder / "disc" / "0.png") and found[0].row == 0
    assert {r.images[0].digest for r in found} == {r.images[0].digest for r in pictures(24)}
    task = task_of(folder)
    assert task.spec.labels == LABELS and sum(task.report.rows.values()) == 24
    flat = read(folder / "disc", None)
    assert len(flat) == 12 and flat[0].target is None


def test_folders_of_parts(tmp_path: Path) -> None:
    for seed, (part, count) in enumerate({"train": 20, "val": 8, "test": 6}.items()):
        save_pictures(tmp_path / part, count, seed)
    task = task_of(tmp_path)
    assert task.report.rows == {"train": 20, "validation": 8, "test": 6}
    assert len(read(tmp_path, split="val")) == 8
    with pytest.raises(DataError, match="no such split"):
        read(tmp_path, split="tset")


def test_what_is_left_out_of_a_folder_is_told(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path / "set", 24)
    (folder / "disc" / "notes.txt").write_text("mine")
    (folder / ".cache").mkdir()
    (folder / "empty").mkdir()
    with pytest.warns(DataWarning) as told:
        assert len(read(folder)) == 24
    assert ["disc/notes.txt" in str(told[0].message), "empty" in str(told[1].message)] == [True] * 2


def test_a_copy_saved_in_another_format_stays_in_its_split(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path / "set", 40)
    for path in sorted((folder / "disc").glob("*.png")):
        save(read(path.parent, None)[0].images[0], folder / "disc" / f"{path.stem}.bmp")
    rng = random.Random(5)
    again = drawn("stripes", rng)
    for name in ("one.png", "two.bmp", "three.tiff"):
        save(again, folder / "stripes" / name)
    task = task_of(folder)
    digests = [
        {r.images[0].digest for r in rows} for rows in (task.train, task.validation, task.test)
    ]
    assert not (digests[0] & digests[1] or digests[0] & digests[2] or digests[1] & digests[2])


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_tables_name_files_beside_them(tmp_path: Path, ending: str) -> None:
    rows = [
        {
            "image": str(save(r.images[0], tmp_path / "files" / f"{n}.png").relative_to(tmp_path)),
            "label": r.target,
        }
        for n, r in enumerate(pictures(30))
    ]
    path = write_table(tmp_path / f"set.{ending}", rows)
    found = read(path)
    assert [r.images[0].digest for r in found] == [r.images[0].digest for r in pictures(30)]
    assert found[3].source == str(path) and found[3].row in (4, 5)
    named = [{"file": row["image"], "label": row["label"]} for row in rows]
    assert task_of(write_table(tmp_path / f"other.{ending}", named), text_field="file").train


def write_table(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".csv":
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines))
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def test_parquet_with_bytes(tmp_path: Path) -> None:
    plain = [{"image": r.images[0].content, "label": r.target} for r in pictures(6)]
    both = [{**row, "image": {"bytes": row["image"], "path": "x.png"}} for row in plain]
    for name, rows in (("plain", plain), ("both", both)):
        found = read(write_table(tmp_path / f"{name}.parquet", rows))
        assert [r.images[0] for r in found] == [r.images[0] for r in pictures(6)]


def test_a_saved_set_of_images(tmp_path: Path) -> None:
    rows = {"image": [pixels_of(r.images[0]) for r in pictures(6)], "label": [0, 1] * 3}
    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=list(LABELS))
    )
    datasets.Dataset.from_dict(rows, features).save_to_disk(tmp_path / "set")
    found = read(tmp_path / "set")
    assert [r.target for r in found] == list(LABELS) * 3
    assert [r.images[0].digest for r in found] == [r.images[0].digest for r in pictures(6)]


def save_hub_set(folder: Path) -> Path:
    """Parquet files as a set on the hub has them, with columns of its own names."""
    features = datasets.Features(
        img=datasets.Image(),
        fine_label=datasets.ClassLabel(names=list(LABELS)),
        coarse_label=datasets.ClassLabel(names=["thing"]),
    )
    (folder / "data").mkdir(parents=True)
    for part, count, seed in (("train", 20, 1), ("test", 6, 2)):
        rows = pictures(count, seed)
        table = {
            "img": [pixels_of(r.images[0]) for r in rows],
            "fine_label": [LABELS.index(str(r.target)) for r in rows],
            "coarse_label": [0] * count,
        }
        file = folder / "data" / f"{part}-00000-of-00001.parquet"
        datasets.Dataset.from_dict(table, features).to_parquet(file)
    return folder


def test_a_set_of_the_hub_and_a_copy_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = save_hub_set(tmp_path / "set")
    names = {"text_field": "img", "label_field": "fine_label"}
    load = datasets.load_dataset
    monkeypatch.setattr(
        datasets,
        "load_dataset",
        lambda path, *config: load(str(folder) if path == "owner/set" else path),
    )
    for source in (folder, "owner/set"):
        task = task_of(source, **names)
        assert task.report.rows["test"] == 6 and task.spec.labels == LABELS
        assert sum(task.report.rows.values()) == 26
        digests = {r.images[0].digest for r in task.test}
        assert digests == {r.images[0].digest for r in pictures(6, 2)}
        flags = "--kind image-classification --text-field img --label-field fine_label"
        for kind in ("image-classification", "classification"):
            with pytest.raises(DataError, match="there is no column") as caught:
                Task.from_file(source, kind=kind)
            assert caught.value.hint == f"for images: {flags}"


def test_files_that_a_set_names_are_the_librarys_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    files = {
        where: save(pictures(1)[0].images[0], tmp_path / where / "0.png")
        for where in ("cache", "private")
    }
    for where, file in files.items():
        rows = {"image": [str(file)], "label": [0]}
        features = datasets.Features(
            image=datasets.Image(), label=datasets.ClassLabel(names=list(LABELS))
        )
        part = datasets.Dataset.from_dict(rows, features)
        monkeypatch.setattr(datasets, "load_dataset", lambda *_, part=part: part)
        if where == "cache":
            (record,) = read(Path("owner/set"))
            assert record.images[0].digest == pictures(1)[0].images[0].digest
        else:
            with pytest.raises(DataError, match="leads out of the data's folder"):
                read(Path("owner/set"))


def test_npz_with_parts_and_without(tmp_path: Path) -> None:
    parts = {"train": slice(0, 20), "val": slice(20, 30), "test": slice(30, 40)}
    medmnist = {f"{part}_images": ARRAYS[rows] for part, rows in parts.items()}
    medmnist |= {f"{part}_labels": NUMBERS[rows, None] for part, rows in parts.items()}
    np.savez(tmp_path / "medmnist.npz", **medmnist)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # labels that no training row has
        task = task_of(tmp_path / "medmnist.npz")
    assert task.report.rows == {"train": 20, "validation": 10, "test": 10}
    assert task.spec.labels == tuple(str(n) for n in range(11))
    np.savez(tmp_path / "whole.npz", images=ARRAYS, labels=NUMBERS)
    found = read(tmp_path / "whole.npz")
    assert np.array_equal(np.asarray(pixels_of(found[3].images[0]))[..., 0], ARRAYS[3])
    colours = np.stack([ARRAYS] * 3, -1)
    np.savez_compressed(tmp_path / "keras.npz", x_train=colours, y_train=NUMBERS)
    assert (
        len(
            read_splits(
                tmp_path / "keras.npz",
                fields=("image",),
                target_field="label",
                readers=SPEC.readers("label"),
            )["train"]
        )
        == 40
    )


def test_npz_with_several_labels(tmp_path: Path) -> None:
    flags = np.arange(40)[:, None] >> np.arange(11) & 1
    np.savez(tmp_path / "set.npz", images=ARRAYS, labels=flags)
    task = Task.from_file(tmp_path / "set.npz", kind="image-multi-label", split=(1, 0, 0))
    assert task.train[5].target == ("0", "2") and task.train[0].target == ()
    assert task.spec.labels == tuple(map(str, range(6)))
    with pytest.raises(DataError, match="label"):
        task_of(tmp_path / "set.npz")


def save_idx(path: Path, values: Any) -> None:
    head = struct.pack(f">{1 + values.ndim}I", 0x800 + values.ndim, *values.shape)
    content = head + values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_files(tmp_path: Path, ending: str) -> None:
    for name, rows in (("train", slice(0, 30)), ("t10k", slice(30, 40))):
        save_idx(tmp_path / f"{name}-images-idx3-ubyte{ending}", ARRAYS[rows])
        save_idx(tmp_path / f"{name}-labels-idx1-ubyte{ending}", NUMBERS[rows])
    found = read_splits(
        tmp_path, fields=("image",), target_field="label", readers=SPEC.readers("label")
    )
    assert {name: len(rows) for name, rows in found.items()} == {"train": 30, "test": 10}
    assert [r.target for r in found["test"]] == [str(n) for n in NUMBERS[30:]]
    alone = read(tmp_path / f"train-images-idx3-ubyte{ending}")
    assert np.array_equal(np.asarray(pixels_of(alone[2].images[0]))[..., 0], ARRAYS[2])


def break_folder(folder: Path) -> None:
    (folder / "disc" / "8.png").write_bytes((folder / "disc" / "8.png").read_bytes()[:200])


def one_class(folder: Path) -> None:
    for path in (folder / "stripes").iterdir():
        path.unlink()
    (folder / "stripes").rmdir()


def loose(folder: Path) -> None:
    save(pictures(1)[0].images[0], folder / "loose.png")


def flat(folder: Path) -> None:
    for name in ("disc", "stripes"):
        for path in (folder / name).iterdir():
            path.rename(folder / path.name)
        (folder / name).rmdir()


@pytest.mark.parametrize(
    ("spoil", "error", "what", "where"),
    [
        (break_folder, DataError, "the image cannot be read", "8.png"),
        (one_class, ConfigError, "there is only one label", "set"),
        (loose, DataError, "beside the folders of the classes", "set"),
        (flat, DataError, "no folders of images", "set"),
    ],
)
def test_a_folder_that_cannot_be_used(
    tmp_path: Path, spoil: Any, error: type[CuecardError], what: str, where: str
) -> None:
    folder = save_pictures(tmp_path / "set", 24)
    spoil(folder)
    with pytest.raises(error, match=what) as caught:
        task_of(folder)
    assert str(caught.value.where).endswith(where)


def test_a_class_that_validation_lacks_is_learnt_and_tested(tmp_path: Path) -> None:
    save_pictures(tmp_path / "train", 20, 1)
    save_pictures(tmp_path / "test", 10, 2)
    (tmp_path / "val" / "disc").mkdir(parents=True)
    save(pictures(1, 3)[0].images[0], tmp_path / "val" / "disc" / "0.png")
    task = task_of(tmp_path)
    assert task.spec.labels == LABELS and task.report.labels["validation"] == {"disc": 1}


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        ("../outside.png", "leads out of the data's folder"),
        ("/etc/hostname", "leads out of the data's folder"),
        ("link.png", "leads out of the data's folder"),
        ("nowhere.png", "file cannot be read"),
        ("folder", "cannot be read|not a regular file"),
        ("", "there is no image"),
        ("notes.txt", "not an image"),
        ("x" * 5000, "cannot be read|cannot be used"),
    ],
)
def test_a_cell_that_names_no_image(tmp_path: Path, cell: str, what: str) -> None:
    outside = save(pictures(1)[0].images[0], tmp_path / "outside.png")
    inside = tmp_path / "data"
    (inside / "folder").mkdir(parents=True)
    (inside / "notes.txt").write_text("no image")
    (inside / "link.png").symlink_to(outside)
    path = write_table(inside / "set.csv", [{"image": cell, "label": "disc"}])
    with pytest.raises(DataError, match=what) as caught:
        read(path)
    assert str(caught.value.where).startswith(f"{path}, row 2")


@pytest.mark.parametrize(
    ("arrays", "what"),
    [
        ({"a": ARRAYS}, "cannot be read as labelled images"),
        ({"images": ARRAYS, "labels": NUMBERS[:5]}, "do not go together"),
        ({"images": ARRAYS, "labels": np.stack([NUMBERS] * 3, 1)}, "do not go together"),
        ({"images": ARRAYS.astype(float), "labels": NUMBERS}, "not an image"),
        ({"images": np.array([{}], object), "labels": NUMBERS[:1]}, "cannot be read as labelled"),
    ],
)
def test_arrays_that_are_no_images(tmp_path: Path, arrays: Any, what: str) -> None:
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(DataError, match=what):
        read(tmp_path / "set.npz")


def test_damaged_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=ARRAYS, labels=NUMBERS)
    whole = (tmp_path / "set.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cannot be read as labelled images"):
        read(tmp_path / "cut.npz")
    images = tmp_path / "train-images-idx3-ubyte"
    save_idx(images, ARRAYS)
    with pytest.raises(DataError, match="no file of labels"):
        read(images)
    save_idx(tmp_path / "train-labels-idx1-ubyte", NUMBERS)
    for content in (images.read_bytes()[:-5], b"", struct.pack(">4I", 0x803, 2**31, 2**31, 9)):
        images.write_bytes(content)
        with pytest.raises(DataError, match="not a whole IDX file"):
            read(images)
