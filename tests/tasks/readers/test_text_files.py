from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuecard.errors import DataError
from cuecard.tasks.readers.text_files import read_text

Attempt = Callable[[Callable[[], Any]], Any]
Write = Callable[[str, str | bytes], Path]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_the_byte_order_mark_decides(write: Write, encoding: str) -> None:
    text = "a,b\r\nnaïve 😀,1\n"
    assert read_text(write("a.csv", text.encode(encoding))) == text


@pytest.mark.parametrize(
    ("data", "where", "got"),
    [
        ("text\ncaf\u00e9\n".encode("latin-1"), "row 2", "byte 0xe9 at offset 8"),
        (b"\xef\xbb\xbftext\n\xff\n", "row 2", "byte 0xff at offset 8"),
        ("a\n“b”".encode("cp1252"), "row 2", "byte 0x93 at offset 2"),
        ("text\n😀".encode()[:-1], "row 2", "byte 0xf0 at offset 5"),
        ("a".encode("utf-16") + b"\x00", "row 1", "byte 0x00 at offset 4"),
    ],
)
def test_a_wrong_encoding_names_the_byte(write: Write, data: bytes, where: str, got: str) -> None:
    with pytest.raises(DataError, match="not valid UTF") as caught:
        read_text(write("a.csv", data))
    assert str(caught.value.where).endswith(where)
    assert caught.value.got == got


def test_nul_is_refused_with_its_row(write: Write) -> None:
    with pytest.raises(DataError, match="NUL") as caught:
        read_text(write("a.csv", "a,b\n1,\0\n"))
    assert str(caught.value.where).endswith("row 2")
    with pytest.raises(DataError, match="NUL") as caught:
        read_text(write("b.csv", "text,label".encode("utf-16-le")))
    assert "UTF-16" in str(caught.value.hint)


@pytest.mark.parametrize("data", [b"", b" \n\r\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(write: Write, data: bytes) -> None:
    with pytest.raises(DataError, match="is empty"):
        read_text(write("a.csv", data))


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_text(tmp_path)


@given(st.binary(max_size=60))
def test_any_bytes_are_text_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, attempt: Attempt, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("bytes") / "a.csv"
    path.write_bytes(data)
    found = attempt(lambda: read_text(path))
    if isinstance(found, DataError):
        assert str(path) in str(found.where)
    else:
        assert found.strip()
        assert "\0" not in found
