"""Plain text, one record per line."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from cuecard.errors import DataError
from cuecard.tasks.readers.compressed import data_suffix
from cuecard.tasks.readers.tables import Table, Wanted, records
from cuecard.tasks.readers.text_files import read_text
from cuecard.types import Record

STDIN = "-"
_SUFFIXES = ("", ".txt")


def is_plain(path: Path) -> bool:
    """Whether a path is read line by line: a file or a pipe named *.txt or without an ending."""
    return data_suffix(path) in _SUFFIXES and path.exists() and not path.is_dir()


def read_lines(source: str | Path, field: str, *, limit: int | None = None) -> list[Record]:
    """One record per line, without a target.

    Args:
        source: a text file, or "-" for standard input.
        field: the field that a line becomes.
        limit: read the first so many lines.

    Raises:
        DataError: nothing there, bytes that are not text, or an empty line, with its number.
    """
    standard = source == STDIN
    text = _read_stdin() if standard else read_text(Path(source))
    # StringIO knows the line ends of files, and no others: a text may hold U+2028.
    lines = enumerate((line.rstrip("\n") for line in io.StringIO(text, newline=None)), 1)
    table = Table(
        "standard input" if standard else str(source),
        (field,),
        ((number, {field: line}) for number, line in lines),
    )
    return records(table, Wanted((field,), None), limit)


def _read_stdin() -> str:
    if sys.stdin is None:
        raise DataError("standard input is closed", where="--file -", expected="lines of text")
    data = sys.stdin.buffer.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            "the input is not valid UTF-8",
            where=f"standard input, row {line}",
            got=f"byte 0x{data[error.start]:02x} at offset {error.start}",
            expected="UTF-8",
        ) from error
