"""Excel workbooks: the first sheet's rows, with the sheet's own numbers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cuecard.errors import DataError, DataWarning
from cuecard.tasks import Task
from cuecard.tasks.readers.records import read_records
from cuecard.types import Record
from support.data.reviews import reviews
from support.workbooks import Cell, save_workbook


def read(path: Path) -> list[Record]:
    return read_records(path, fields=["text"], target_field="label")


def test_cells_are_told_as_a_person_writes_them(tmp_path: Path) -> None:
    rows: list[list[Cell]] = [
        [],
        ["id", "text", "label"],
        [1, "a & b\n<c>", "x"],
        [],
        [None, 7, 2],
        [3, 0.5, True],
    ]
    path = save_workbook(tmp_path / "rows.xlsx", {"Empty": [], "Rows": rows})
    assert [(r.text("text"), r.target, r.row) for r in read(path)] == [
        ("a & b\n<c>", "x", 3),
        ("7", "2", 5),
        ("0.5", "true", 6),
    ]


def test_a_task_from_a_workbook(tmp_path: Path) -> None:
    rows = [[r.text("text"), str(r.target)] for r in reviews(40)]
    path = save_workbook(tmp_path / "rows.xlsx", {"Sheet1": [["message", "team"], *rows]})
    task = Task.from_file(path, text_field="message", label_field="team")
    assert task.spec.labels == ("negative", "positive") and sum(task.report.rows.values()) == 40


def test_other_sheets_are_told_and_hidden_ones_are_not_read(tmp_path: Path) -> None:
    rows = [["text", "label"], ["a", "x"]]
    sheets = {"Hidden": [["old"]], "Rows": rows, "Notes": [["by hand"]]}
    path = save_workbook(tmp_path / "rows.xlsx", sheets, hidden=["Hidden"])
    with pytest.warns(DataWarning, match="only the first sheet, 'Rows', is read, not 'Notes'"):
        assert [r.text("text") for r in read(path)] == ["a"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "the file is empty"),
        ([["text", "label"]], "there are no rows"),
        ([["text", "label"], ["a", "x"], ["b"]], "label is missing\n  where: {path}, row 3"),
        ([["text", "label"], ["a", "x", "?"]], "row 2, column C of sheet 'S'"),
        ([["text", "text", "label"], ["a", "b", "x"]], "a column named twice"),
        ([["body", "label"], ["a", "x"]], "there is no column 'text'"),
    ],
)
def test_refusals_name_the_row(rows: list[list[Cell]], said: str, tmp_path: Path) -> None:
    path = save_workbook(tmp_path / "rows.xlsx", {"S": rows})
    with pytest.raises(DataError) as told:
        read(path)
    assert said.format(path=path) in str(told.value)


def test_what_is_no_workbook(tmp_path: Path) -> None:
    path = tmp_path / "rows.xlsx"
    whole = save_workbook(tmp_path / "whole.xlsx", {"S": [["text", "label"]]}).read_bytes()
    for content in (b"", b"text,label\na,x\n", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot be read as a workbook"):
            read(path)


def test_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_workbook(tmp_path / "rows.xlsx", {"S": [["text", "label"], ["a", "x"]]})
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(DataError, match=r"pip install 'cuecard\[excel\]'"):
        read(path)
