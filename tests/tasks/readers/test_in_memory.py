"""Rows that a program holds are read, and refused, as those of files are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import PIL.Image
import pyarrow
import pytest

from cuecard.errors import ConfigError, DataError, DataWarning
from cuecard.tasks import Task, TaskSpec
from cuecard.tasks.given_rows import given_records
from cuecard.types import Image, Record
from support.data.reviews import reviews

ROWS = [
    {"message": r.fields["text"], "team": r.target, "day": n} for n, r in enumerate(reviews(40))
]
COLUMNS = {"text_field": "message", "label_field": "team"}
SPEC = TaskSpec(kind="classification", template="{text}", labels=("negative", "positive"))


class Polars:
    """What is asked of a `polars.DataFrame`, which is not installed here."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.columns, self._rows = list(rows[0]), rows

    def iter_rows(self, *, named: bool = False) -> Any:
        return iter(self._rows if named else [tuple(row.values()) for row in self._rows])


FORMS: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "list": list,
    "generator": iter,
    "pandas": pd.DataFrame,
    "pandas-categories": lambda rows: pd.DataFrame(rows).astype({"team": "category"}),
    "polars": Polars,
    "arrow": pyarrow.Table.from_pylist,
    "datasets": datasets.Dataset.from_list,
    "iterable": lambda rows: datasets.Dataset.from_list(rows).to_iterable_dataset(),
    "classes": lambda rows: datasets.Dataset.from_list(rows).class_encode_column("team"),
    "iterable-classes": lambda rows: FORMS["classes"](rows).to_iterable_dataset(),
    "iterable-without-features": lambda rows: datasets.IterableDataset.from_generator(
        lambda: iter(rows)
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_task_of_the_file(form: str, tmp_path: Path) -> None:
    pd.DataFrame(ROWS).to_csv(tmp_path / "rows.csv", index=False)
    expected = Task.from_file(tmp_path / "rows.csv", **COLUMNS)
    found = Task.from_data(FORMS[form](ROWS), **COLUMNS)
    assert found.spec == expected.spec and found.report == expected.report
    for ours, theirs in ((found.train, expected.train), (found.test, expected.test)):
        assert [(r.fields, r.target) for r in ours] == [(r.fields, r.target) for r in theirs]
    # Rows count from 1 here, and from the header's next line there.
    assert {r.row + 1 for r in found.test} == {r.row for r in expected.test}


def test_splits_by_name_or_rows_of_their_own() -> None:
    parts = datasets.DatasetDict(
        {
            "train": datasets.Dataset.from_list(ROWS[:20]),
            "dev": datasets.Dataset.from_list(ROWS[20:30]),
            "extra": datasets.Dataset.from_list(ROWS[:2]),
        }
    )
    with pytest.warns(DataWarning, match=r"the DatasetDict: left out 'extra' \(2 rows\)"):
        first = Task.from_data(parts, test=ROWS[30:], **COLUMNS)
    assert first.report.rows == {"train": 20, "validation": 10, "test": 10}
    own = {"train": pd.DataFrame(ROWS[:20]), "validation": ROWS[20:30], "test": ROWS[30:]}
    assert Task.from_data(own, **COLUMNS).validation[0].text("text") == ROWS[20]["message"]
    frame = pd.DataFrame(ROWS)
    frame["part"] = ["train"] * 20 + ["val"] * 10 + ["test"] * 10
    third = Task.from_data(frame, split_field="part", **COLUMNS)
    assert third.report.rows == first.report.rows
    with pytest.raises(ConfigError, match="the validation rows are read from"):
        Task.from_data(frame, validation=frame, **COLUMNS)
    with pytest.raises(DataError, match="there are no training rows"):
        Task.from_data({"message": ["a"], "team": ["b"]}, **COLUMNS)


def nothing(rows: list[dict[str, Any]], column: str, value: Any) -> list[dict[str, Any]]:
    return [*rows[:4], {**rows[4], column: value}, *rows[5:]]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            pd.DataFrame(nothing(ROWS, "team", None)),
            "label is missing\n  where: the DataFrame, row 5",
        ),
        (pd.DataFrame(nothing(ROWS, "team", float("nan"))), "label is missing"),
        (
            pd.DataFrame(nothing(ROWS, "message", pd.NA)),
            "text is empty\n  where: the DataFrame, row 5",
        ),
        (nothing(ROWS, "message", pd.Timestamp(0)), "not text\n  where: the list, row 5"),
        (nothing(ROWS, "message", " "), "text is empty"),
        ([*ROWS[:2], "a text"], "not a row\n  where: the list, row 3"),
        ([*ROWS[:2], {"message": "a"}], "no column 'team'\n  where: the list, row 3"),
        (pd.DataFrame(ROWS).rename(columns={"team": "group"}), "there is no column 'team'"),
        (pd.DataFrame(ROWS).rename(columns={"day": "team"}), "a column named twice"),
        (pd.DataFrame(ROWS)[:0], "there are no rows\n  where: the DataFrame"),
        ([], "there are no rows\n  where: the list"),
        (3, "not a row\n  where: the int"),
        (pyarrow.table({"team": ["a"]}), "there is no column 'message'\n  where: the Table"),
    ],
)
def test_refusals_name_the_row(data: Any, said: str) -> None:
    with pytest.raises(DataError) as told:
        Task.from_data(data, **COLUMNS)
    assert said in str(told.value)


def test_numbers_are_those_of_a_file() -> None:
    frame = pd.DataFrame({"text": ["a", "b"], "label": pd.array([1, None], dtype="Int64")})
    frame["mean"] = np.array([0.5, 2.0], dtype=np.float32)
    spec = TaskSpec(kind="classification", template="{text} {mean}", labels=("1", "2"))
    (first,) = given_records(spec, frame[:1], "label")
    assert first.fields == {"text": "a", "mean": "0.5"} and first.target == "1"
    rows = [{"text": np.int64(3), "mean": np.float64(2.0), "label": np.bool_(True)}]
    (record,) = given_records(spec, rows, "label")
    assert record.fields == {"text": "3", "mean": "2"} and record.target == "true"


def test_lists_in_cells_are_lists() -> None:
    spec = TaskSpec(kind="tagging", template="{tokens}", labels=("O", "B-X"))
    frame = pd.DataFrame({"tokens": [np.array(["a", "b"])], "tags": [["O", "B-X"]]})
    (record,) = given_records(spec, frame, "tags")
    assert record.fields == {"tokens": "a b"} and record.target == ("O", "B-X")


def test_texts_and_records_among_the_rows() -> None:
    record = Record({"text": "a"}, None)
    found = given_records(SPEC, ["a", {"text": "a"}, record])
    assert [row.fields for row in found] == [record.fields] * 3 and found[2] is record
    assert given_records(SPEC, pd.Series(["a", "b"])) == given_records(SPEC, ("a", "b"))
    assert given_records(SPEC, []) == given_records(SPEC, pd.DataFrame({"text": []})) == []


def test_images_of_a_set_and_of_pillow_are_the_same() -> None:
    spec = TaskSpec(kind="image-classification", labels=("a", "b"), template="{image}")
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    made = PIL.Image.fromarray(pixels)
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    data = datasets.Dataset.from_dict({"image": [made], "label": [1]}, features=features)
    (stored,) = given_records(spec, data, "label")
    assert stored.target == "b"
    decoded = given_records(spec, [data[0]["image"], pixels, made.convert("RGBA"), {"image": made}])
    image = stored.fields["image"]
    assert isinstance(image, Image) and image.size == (4, 4)
    assert {row.text("image") for row in decoded} == {stored.text("image")}
