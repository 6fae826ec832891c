"""Where masks come from, and which do not go with their images."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cuecard.errors import ConfigError, DataError, DataWarning
from cuecard.masks import bits_of
from cuecard.tasks import Task, TaskSpec
from cuecard.types import Image, Record
from support.serving.pictures import saved
from support.tiny_sam import SPEC, blobs, save_blobs

EXIF_SIDEWAYS = 6  # rows of the file are columns, from right to left


def read(path: Path, **options: Any) -> Task:
    return Task.from_file(path, kind="image-segmentation", split=(1, 0, 0), **options)


def file(bits: np.ndarray, orientation: int | None = None) -> bytes:
    exif = PIL.Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    return saved(PIL.Image.fromarray(bits.astype(np.uint8) * 255), exif=exif.tobytes())


def test_folders_for_each_split_and_bytes_in_parquet(tmp_path: Path) -> None:
    for name, count in (("train", 6), ("val", 2), ("test", 3)):
        save_blobs(tmp_path / "split" / name, count, seed=count)
    task = read(tmp_path / "split")
    assert task.report.rows == {"train": 6, "validation": 2, "test": 3}
    assert task.spec == SPEC
    records = blobs(6, seed=6)
    assert {r.images[0].digest for r in task.train} == {r.images[0].digest for r in records}
    masks = {r.images[0].digest: r.target for r in records}
    assert all(r.target == masks[r.images[0].digest] for r in task.train)

    folder = tmp_path / "split" / "train"
    columns = {
        name: [file.read_bytes() for file in sorted((folder / f"{name}s").iterdir())]
        for name in ("image", "mask")
    }
    points = [[[1.0, 2.0]], [], None, [[3.0, 4.0, 0.0]], [[5.0, 6.0]], [[7.0, 8.0]]]
    pq.write_table(pa.table({**columns, "points": points}), tmp_path / "rows.parquet")
    rows = read(tmp_path / "rows.parquet", template="{image}{points}", allow_empty=("points",))
    assert {record.target for record in rows.train} == set(masks.values())
    assert {r.text("points") for r in rows.train} >= {"", "[[1.0, 2.0, 1]]", "[[3.0, 4.0, 0]]"}


@pytest.mark.parametrize("turned", ["both", "mask not"])
def test_a_mask_is_turned_as_its_image_is(turned: str) -> None:
    bits = np.zeros((10, 16), np.bool_)
    bits[:4, :7] = True
    image = Image(file(bits, EXIF_SIDEWAYS))
    mask = Image(file(bits, EXIF_SIDEWAYS if turned == "both" else None))
    record = Record({"image": image}, mask, "photos", 3)
    if turned == "both":
        SPEC.task_kind.check_target(SPEC, record)
        target = SPEC.with_value(record).target
        assert np.array_equal(bits_of(target), np.rot90(bits, -1))  # type: ignore[arg-type]
        return
    with pytest.raises(DataError, match="not as large as its image") as caught:
        SPEC.task_kind.check_target(SPEC, record)
    assert "EXIF" in str(caught.value.hint) and "row 3" in str(caught.value.where)


def test_one_class_of_records_in_memory() -> None:
    numbers = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
    out = BytesIO()
    PIL.Image.fromarray(numbers).save(out, "PNG")
    mask = Image(out.getvalue())
    record = Record({"image": mask}, mask)
    with pytest.raises(DataError, match="more than one class"):
        SPEC.task_kind.check_target(SPEC, record)
    spec = TaskSpec.parse({**SPEC.model_dump(), "mask_class": 2})
    target = spec.with_value(record).target
    assert np.array_equal(bits_of(target), numbers == 2)  # type: ignore[arg-type]
    assert spec.with_value(spec.with_value(record)).target == target
    assert TaskSpec.of_prompt(spec.model_dump(mode="json")) == spec


def test_what_does_not_go_together(tmp_path: Path) -> None:
    save_blobs(tmp_path / "more", 8)
    (tmp_path / "more" / "masks" / "99.png").write_bytes(file(np.ones((4, 4))))
    with pytest.warns(DataWarning, match=r"left out 1 mask without an image: .*99\.png"):
        read(tmp_path / "more")
    (tmp_path / "more" / "masks" / "3.jpg").write_bytes(file(np.ones((4, 4))))
    with pytest.raises(DataError, match="two files have one name"):
        read(tmp_path / "more")
    (tmp_path / "rows.csv").write_text("image,mask\nmore/images/1.png,more/masks/1.png\na.png,\n")
    with pytest.raises(DataError, match="cannot be read") as caught:
        read(tmp_path / "rows.csv")
    assert "row 3" in str(caught.value.where) and "a.png" in str(caught.value)
    (tmp_path / "rows.csv").write_text("image,mask\nmore/images/1.png,\n")
    with pytest.raises(DataError, match="there is no mask"):
        read(tmp_path / "rows.csv")
    (tmp_path / "rows.csv").write_text("image,mask\nmore/images/1.png,../x.png\n")
    with pytest.raises(DataError, match="leads out of the data's folder"):
        read(tmp_path / "rows.csv")
    for template in ("{image}{photo}", "{points}", "{image} {image}"):
        with pytest.raises(ConfigError, match="words beside the image"):
            TaskSpec(kind="image-segmentation", template=template)
