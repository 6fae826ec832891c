"""Plain text, one record per line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cuecard.errors import DataError
from cuecard.tasks.readers.plain_lines import is_plain, read_lines


def test_lines(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_bytes("first\r\n second \nth\u2028ird, \U0001f600".encode())
    rows = read_lines(path, "text")
    assert [row.fields["text"] for row in rows] == ["first", " second ", "th\u2028ird, \U0001f600"]
    assert [(row.row, row.target, row.source) for row in rows] == [
        (number, None, str(path)) for number in (1, 2, 3)
    ]
    assert len(read_lines(path, "text", limit=2)) == 2


def test_an_empty_line(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("first\n\nthird\n")
    with pytest.raises(DataError, match=r"texts\.txt, row 2"):
        read_lines(path, "text")
    with pytest.raises(DataError, match="cannot be read"):
        read_lines(tmp_path / "none.txt", "text")


def test_what_is_plain(tmp_path: Path) -> None:
    for name in ("a.txt", "A.TXT", "plain", "a.csv"):
        (tmp_path / name).touch()
    assert is_plain(tmp_path / "a.txt") and is_plain(tmp_path / "plain")
    assert is_plain(tmp_path / "A.TXT")
    assert not is_plain(tmp_path / "a.csv")
    assert not is_plain(tmp_path) and not is_plain(tmp_path / "none.txt")
