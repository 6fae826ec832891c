from __future__ import annotations

from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from cuecard.errors import DataError
from cuecard.tasks.readers.parquet_files import read_parquet
from cuecard.tasks.readers.tables import Wanted, records

WANTED = Wanted(["text"], "label")


def test_the_wanted_columns_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pyarrow.table({"text": ["a", "😀"], "label": [1.0, 2.5], "other": [[1], [2]]})
    pyarrow.parquet.write_table(table, path)
    found = records(read_parquet(path, WANTED), WANTED)
    assert [(r.row, r.fields["text"], r.target) for r in found] == [(1, "a", "1"), (2, "😀", "2.5")]


def test_class_labels_keep_their_names(tmp_path: Path) -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])}
    )
    rows = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    path = tmp_path / "a.parquet"
    rows.to_parquet(path)
    assert [r.target for r in records(read_parquet(path, WANTED), WANTED)] == ["pos", "neg"]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"], "labels": ["b"]}), path)
    with pytest.raises(DataError, match="no column 'label'") as caught:
        read_parquet(path, WANTED)
    assert caught.value.hint == "did you mean 'labels'?"


def test_a_column_named_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    columns = [pyarrow.array([value]) for value in "abc"]
    table = pyarrow.Table.from_arrays(columns, names=["text", "text", "label"])
    pyarrow.parquet.write_table(table, path)
    with pytest.raises(DataError, match="named twice"):
        read_parquet(path, WANTED)


@pytest.mark.parametrize("keep", [0, 4, 60])
def test_a_damaged_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"], "label": ["b"]}), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_parquet(path, WANTED)
