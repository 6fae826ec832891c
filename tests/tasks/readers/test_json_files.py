from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuecard.errors import DataError
from cuecard.tasks.readers.json_files import read_json

Write = Callable[[str, str | bytes], Path]


def test_lines_are_numbered_and_blank_ones_passed_over(write: Write) -> None:
    table = read_json(write("a.jsonl", '{"text": "a\\nb"}\r\n\n{"text": "\u2028"}\n'))
    assert list(table.rows) == [(1, {"text": "a\nb"}), (3, {"text": "\u2028"})]
    assert table.columns is None


def test_a_json_file_is_lines_or_a_list(write: Write) -> None:
    rows = [{"text": "a"}, {"text": "b"}]
    as_list = read_json(write("a.json", "\n" + json.dumps(rows, indent=1)))
    as_lines = read_json(write("b.json", "\n".join(map(json.dumps, rows))))
    assert list(as_list.rows) == list(as_lines.rows) == [(1, rows[0]), (2, rows[1])]


@pytest.mark.parametrize(
    ("name", "text", "row"),
    [
        ("a.jsonl", '{"text": "a"}\n{"text": \n', 2),
        ("a.jsonl", "{'text': 'a'}", 1),
        ("a.jsonl", '{"n": ' + "1" * 5000 + "}", 1),
        ("a.jsonl", "[" * 200_000, 1),
        ("a.json", '[{"text": "a"},\n{"text": }]', 2),
    ],
)
def test_a_line_that_is_not_json_is_named(write: Write, name: str, text: str, row: int) -> None:
    path = write(name, text)
    with pytest.raises(DataError, match="invalid JSON") as caught:
        read_json(path)
    assert caught.value.where == f"{path}, row {row}"


@pytest.mark.parametrize("text", ['{"a": 1}\n[1, 2]', '{"a": 1}\n"b"', '{"a": 1}\nnull'])
def test_a_row_must_be_an_object(write: Write, text: str) -> None:
    with pytest.raises(DataError, match="not an object") as caught:
        read_json(write("a.jsonl", text))
    assert str(caught.value.where).endswith("row 2")


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers()), min_size=1, max_size=6))
@pytest.mark.parametrize("ascii_only", [True, False])
def test_what_json_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, ascii_only: bool, rows: list[dict[str, str | int]]
) -> None:
    path = tmp_path_factory.mktemp("json") / "a.jsonl"
    text = "\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)
    path.write_bytes(text.encode())
    assert [row for _, row in read_json(path).rows] == rows
