from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuecard.errors import DataError, DataWarning
from cuecard.tasks.readers.records import read_records, read_splits

Attempt = Callable[[Callable[[], Any]], Any]
Write = Callable[[str, str | bytes], Path]
ROWS = [("a gem", "pos"), ("a gob of drivel 😀", "neg"), ("x" * 100_000, "neg")]


def as_csv(rows: list[tuple[str, str]], delimiter: str = ",") -> str:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter).writerows([("text", "label"), *rows])
    return out.getvalue()


def as_dicts(rows: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"text": text, "label": label} for text, label in rows]


def test_every_kind_of_file_gives_the_same_records(write: Write, tmp_path: Path) -> None:
    lines = "\n".join(map(json.dumps, as_dicts(ROWS)))
    sources = [
        write("a.csv", as_csv(ROWS)),
        write("a.tsv", as_csv(ROWS, "\t")),
        write("a.jsonl", lines),
        write("a.ndjson", lines),
        write("a.json", json.dumps(as_dicts(ROWS))),
        tmp_path / "a.parquet",
        tmp_path / "folder",
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(as_dicts(ROWS)), sources[5])
    datasets.Dataset.from_list(as_dicts(ROWS)).save_to_disk(sources[6])
    for source in sources:
        found = read_records(source, fields=["text"], target_field="label")
        assert [(record.fields["text"], record.target) for record in found] == ROWS
        assert str(source) in found[0].source
        header = source.suffix in (".csv", ".tsv")
        assert [record.row for record in found] == ([2, 3, 4] if header else [1, 2, 3])


def test_only_what_is_asked_for_is_checked(write: Write) -> None:
    path = write("a.csv", "text,label,note\na,,\nb,x,y\n")
    assert len(read_records(path, fields=["text"], target_field=None)) == 2
    assert len(read_records(path, fields=["text"], target_field=None, limit=1)) == 1
    with pytest.raises(DataError, match="label is missing") as caught:
        read_records(path, fields=["text"], target_field="label")
    assert caught.value.where == f"{path}, row 2, column 'label'"


def test_a_missing_file_names_the_nearest(write: Write) -> None:
    path = write("reviews.csv", as_csv(ROWS))
    with pytest.raises(DataError, match="no such file") as caught:
        read_records(path.with_name("review.csv"), fields=["text"], target_field=None)
    assert caught.value.hint == "did you mean 'reviews.csv'?"
    with pytest.raises(DataError, match="no such file"):
        read_records("no/such/folder/a.csv", fields=["text"], target_field=None)


def test_an_unknown_suffix_lists_the_known(write: Write) -> None:
    with pytest.raises(DataError, match="unknown kind of file") as caught:
        read_records(write("a.docx", "x"), fields=["text"], target_field=None)
    assert ".parquet" in str(caught.value.expected) and ".gz" in str(caught.value.expected)


def test_a_file_has_no_parts(write: Write) -> None:
    with pytest.raises(DataError, match="cannot be split"):
        read_records(write("a.csv", as_csv(ROWS)), fields=["text"], target_field=None, split="x")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    part = datasets.Dataset.from_list(as_dicts(ROWS))
    hidden = datasets.Dataset.from_list([{"text": "a", "label": None}])
    sets = {"train": part, "dev": part.select([1]), "test": hidden, "unsupervised": hidden}
    datasets.DatasetDict(sets).save_to_disk(tmp_path / "folder")
    return tmp_path / "folder"


def test_a_part_is_read_by_name(folder: Path) -> None:
    found = read_records(folder, fields=["text"], target_field="label", split="dev")
    assert [record.target for record in found] == ["neg"]
    with pytest.raises(DataError, match="no such split") as caught:
        read_records(folder, fields=["text"], target_field="label", split="trian")
    assert caught.value.hint == "did you mean 'train'?"
    with pytest.raises(DataError, match="more than one split"):
        read_records(folder, fields=["text"], target_field="label")


def test_parts_are_known_by_name_and_unlabelled_ones_left_out(folder: Path) -> None:
    with pytest.warns(DataWarning, match="has no labels") as told:
        found = read_splits(folder, fields=["text"], target_field="label")
    assert {name: len(rows) for name, rows in found.items()} == {"train": 3, "validation": 1}
    assert len(told) == 1
    with pytest.raises(DataError, match="cannot be split"):
        read_splits(folder, fields=["text"], target_field="label", split_field="part")


def test_a_file_is_all_training(write: Write) -> None:
    found = read_splits(write("a.csv", as_csv(ROWS)), fields=["text"], target_field="label")
    assert list(found) == ["train"]


def test_a_column_can_say_the_split(write: Write, tmp_path: Path) -> None:
    path = write("a.csv", "text,label,part\na,x,train\nb,y,Dev\nc,x,test\nd,y,training\n")
    options = {"fields": ["text"], "target_field": "label", "split_field": "part"}
    found = read_splits(path, **options)  # type: ignore[arg-type]
    rows = {name: [record.row for record in rows] for name, rows in found.items()}
    assert rows == {"train": [2, 5], "validation": [3], "test": [4]}
    assert found["train"][0].fields == {"text": "a"}
    one = datasets.Dataset.from_csv(str(path), cache_dir=str(tmp_path / "cache"))
    one.save_to_disk(tmp_path / "one")
    again = read_splits(tmp_path / "one", **options)  # type: ignore[arg-type]
    assert {name: len(rows) for name, rows in again.items()} == {
        "train": 2,
        "validation": 1,
        "test": 1,
    }


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("text,label,part\na,x,train\nb,y,tset\n", "unknown split"),
        ("text,label,part\na,x,dev\nb,y,test\n", "no training rows"),
        ("text,label,part\na,x,train\nb,y,\n", "text is empty"),
        ("text,label,parts\na,x,train\n", "no column 'part'"),
    ],
)
def test_a_split_column_is_checked(write: Write, text: str, what: str) -> None:
    with pytest.raises(DataError, match=what):
        read_splits(write("a.csv", text), fields=["text"], target_field="label", split_field="part")


@settings(deadline=None, max_examples=150)
@given(st.sampled_from([".csv", ".tsv", ".jsonl", ".json", ".parquet"]), st.binary(max_size=80))
def test_any_bytes_are_records_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / f"a{suffix}"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_records(path, fields=["text"], target_field="label")
    assert str(path) in str(caught.value.where)


TEXT = st.text(alphabet='a \t\n",😀\u2028é', max_size=10)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5), st.sampled_from(["csv", "jsonl"]))
def test_empty_texts_and_missing_labels_name_their_row(
    tmp_path_factory: pytest.TempPathFactory,
    attempt: Attempt,
    rows: list[tuple[str, str]],
    suffix: str,
) -> None:
    path = tmp_path_factory.mktemp("rows") / f"a.{suffix}"
    lines = "\n".join(map(json.dumps, as_dicts(rows)))
    path.write_bytes((as_csv(rows) if suffix == "csv" else lines).encode())
    bad = [
        index for index, (text, label) in enumerate(rows) if not (text.strip() and label.strip())
    ]
    found = attempt(lambda: read_records(path, fields=["text"], target_field="label"))
    if isinstance(found, DataError):
        assert bad
        assert suffix == "csv" or f", row {bad[0] + 1}, " in str(found.where)
    else:
        assert not bad
        expected = [(text, label.strip()) for text, label in rows]
        assert [(record.fields["text"], record.target) for record in found] == expected


def test_every_part_that_is_left_out_is_named_with_its_rows(tmp_path: Path) -> None:
    def part(*texts: str) -> datasets.Dataset:
        return datasets.Dataset.from_dict({"text": texts, "label": ["x"] * len(texts)})

    parts = datasets.DatasetDict(
        train=part("a", "b"), extra=part("c", "d", "e"), val=part("f"), dev=part("g", "h")
    )
    parts.save_to_disk(tmp_path / "set")
    with pytest.warns(DataWarning) as told:
        read_splits(tmp_path / "set", fields=["text"], target_field="label")
    text = str(told[0].message)
    assert "'extra' (3 rows): its name is not a split's" in text
    assert "'dev' (2 rows): there is another validation part" in text


def test_what_is_no_regular_file_is_said_to_be_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.csv")
    with pytest.raises(DataError, match="not a regular file") as caught:
        read_records(tmp_path / "rows.csv", fields=["text"], target_field=None)
    assert "FIFO" in str(caught.value.got) and "did you mean" not in str(caught.value)
    with pytest.raises(DataError, match="a device"):
        read_records("/dev/null", fields=["text"], target_field=None)
    with pytest.raises(DataError, match="cannot be read"):
        read_records("x" * 5000 + ".csv", fields=["text"], target_field=None)


def test_a_folder_of_files_names_them(write: Write) -> None:
    path = write("b.csv", "text,label\na,b\n")
    with pytest.raises(DataError, match=r"name one of its files: b\.csv"):
        read_records(path.parent, fields=["text"], target_field=None)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_optional_fields_may_be_empty_and_others_may_not(write: Write, suffix: str) -> None:
    rows = [{"say": "a", "to": "b", "label": "x"}, {"say": "c", "to": "", "label": "x"}]
    table = "say,to,label\na,b,x\nc,,x\n"
    path = write(f"a.{suffix}", table if suffix == "csv" else "\n".join(map(json.dumps, rows)))
    options: dict[str, Any] = {"fields": ["say", "to"], "target_field": "label"}
    with pytest.raises(DataError, match="--allow-empty to"):
        read_records(path, **options)
    found = read_records(path, optional=["to"], **options)
    assert [record.fields["to"] for record in found] == ["b", ""]
    with pytest.raises(DataError, match="the row has no text"):
        read_records(write("b.csv", 'say,to,label\n"","",x\n'), optional=["say", "to"], **options)


def test_optional_fields_may_be_absent_or_null(write: Write) -> None:
    path = write("a.jsonl", '{"say": "a"}\n{"say": "b", "to": null}\n{"say": "c", "to": "d"}\n')
    found = read_records(path, fields=["say", "to"], target_field=None, optional=["to"])
    assert [record.fields["to"] for record in found] == ["", "", "d"]


def test_a_key_twice_in_a_json_row_is_refused(write: Write) -> None:
    path = write("a.jsonl", '{"text": "a"}\n{"text": "b", "text": "c"}\n')
    with pytest.raises(DataError, match="'text' twice") as caught:
        read_records(path, fields=["text"], target_field=None)
    assert caught.value.where == f"{path}, row 2"


def test_a_header_that_differs_in_case_is_explained(write: Write) -> None:
    path = write("a.csv", " Comment ,Label\na,b\n")
    with pytest.raises(DataError, match="there is 'Label': upper and lower case differ"):
        read_records(path, fields=["Comment"], target_field="label")
