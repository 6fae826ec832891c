"""CSV and TSV, strictly: a row is whole or an error."""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from cuecard.errors import DataError, DataWarning
from cuecard.tasks.readers.compressed import data_suffix
from cuecard.tasks.readers.tables import Row, Table, place, refuse_twice
from cuecard.tasks.readers.text_files import read_text
from cuecard.validation_text import counted, first_of

DELIMITERS = {".csv": ",", ".tsv": "\t"}
LONGEST_CELL = 1 << 26
"""Characters in a cell; beyond them a quote is surely left open."""

Line = tuple[int, list[str]]
"""A row's first line number and its cells."""

_NAMED = 5  # rows in a warning
_BREAK = re.compile(r"\r\n|\r|\n")
_LIMIT_LOCK = Lock()


def read_delimited(path: Path) -> Table:
    """A CSV or TSV file with a header.

    CSV is read as RFC 4180 has it: a cell in quotes may hold commas and line breaks. TSV has two
    dialects. Of a file where every line has as many tabs as the header, each line is a row, and a
    quote that opens no quoted cell is text (IANA's text/tab-separated-values); other files are read
    with CSV's quotes, as spreadsheets write them.

    Raises:
        DataError: no header, a column named twice, a row with another number of cells than the
            header, broken quotes, or a quoted cell that holds whole rows; with the line on which
            the row starts.
    """
    delimiter, source = DELIMITERS[data_suffix(path)], str(path)
    text = read_text(path)
    lines = _plain_lines(text, source) if delimiter == "\t" else None
    if lines is None:
        lines = list(_lines(text, delimiter, source))
    header_row, header = lines[0]
    header = [name.strip() for name in header]
    refuse_twice(header, place(source, header_row))
    rows: list[Row] = []
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            raise DataError(
                "a malformed row",
                where=place(source, number),
                got=_cells(len(cells)),
                expected=f"{_cells(len(header))}: {', '.join(header)}",
                hint="put cells that contain the delimiter or a line break in double quotes",
            )
        rows.append((number, dict(zip(header, cells, strict=True))))
    _check_swallowed(lines[1:], delimiter, source)
    return Table(source, tuple(header), rows)


def _plain_lines(text: str, source: str) -> list[Line] | None:
    """A TSV file's rows where each line is one; None where tabs or breaks are inside quotes.

    A file of one column has no tabs to tell by, and its quotes are CSV's.
    """
    lines: list[Line] = []
    stray: list[int] = []
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        line = line.removesuffix("\n")
        if not line:
            continue
        cells = line.split("\t")
        if len(cells) == 1 or (lines and len(cells) != len(lines[0][1])):
            return None
        if '"' in line:
            unquoted = _unquoted(line)
            if unquoted is None or len(unquoted) != len(cells):
                stray.append(number)
            else:
                cells = unquoted
        lines.append((number, cells))
    if stray:
        rows = first_of([*map(str, stray)], _NAMED)
        what = "row" if len(stray) == 1 else "rows"
        message = (
            f"{source}, {what} {rows}: a double quote without its partner; each line was read as "
            "one row and the quote kept as text"
        )
        warnings.warn(DataWarning(message), stacklevel=3)
    return lines or None


def _unquoted(line: str) -> list[str] | None:
    """The cells of a single line with CSV's quotes; None where these are no pairs."""
    with _long_cells():
        try:
            return next(csv.reader([line], delimiter="\t", strict=True))
        except csv.Error:
            return None


def _check_swallowed(lines: list[Line], delimiter: str, source: str) -> None:
    """Refuse quoted cells that hold whole rows, as a quote does that was never closed.

    A cell with line breaks is suspicious where its lines, without the quotes, have as many cells as
    the row. Where they also repeat another column's values, such as its labels, they are rows.

    Raises:
        DataError: such a cell.
    """
    for number, cells in lines:
        found = _as_rows(cells, delimiter)
        if found is None:
            continue
        last = number + len(found) - 1
        others = [other for n, other in lines if n != number]
        columns = range(len(cells))
        if any({row[c] for row in found} <= {other[c] for other in others} for c in columns):
            raise DataError(
                f"a quoted cell holds {len(found)} rows",
                where=f"{source}, rows {number} to {last}",
                got=next(repr(cell[:60]) for cell in cells if _BREAK.search(cell)),
                expected="one row",
                hint="a double quote is missing or extra: remove it, or write it twice inside a "
                "quoted cell",
            )
        message = (
            f"{source}, row {number}: a quoted cell has {len(found)} lines that look like rows of "
            "their own; if they are, a double quote is missing or extra"
        )
        warnings.warn(DataWarning(message), stacklevel=3)


def _as_rows(cells: list[str], delimiter: str) -> list[list[str]] | None:
    """A row as the rows it would be without quotes; None where it would be one, or broken."""
    broken = [n for n, cell in enumerate(cells) if _BREAK.search(cell)]
    if len(cells) == 1 or len(broken) != 1:
        return None
    (at,) = broken
    pieces = [piece.split(delimiter) for piece in _BREAK.split(cells[at])]
    rows = list(pieces)
    rows[0] = [*cells[:at], *rows[0]]
    rows[-1] = [*rows[-1], *cells[at + 1 :]]
    fits = len(pieces) > 1 and all(len(row) == len(cells) for row in rows)
    return rows if fits else None


def _lines(text: str, delimiter: str, source: str) -> Iterator[Line]:
    """Each row's first line number and cells; blank lines are passed over."""
    with _long_cells():
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        start = 1
        try:
            for cells in reader:
                if cells:
                    yield start, cells
                start = reader.line_num + 1
        except csv.Error as error:
            raise DataError(
                "a malformed row",
                where=place(source, start),
                got=str(error),
                expected="cells with balanced double quotes",
                hint='inside a quoted cell a double quote is written twice: ""',
            ) from error


def _cells(count: int) -> str:
    return counted(count, "cell")


@contextmanager
def _long_cells() -> Iterator[None]:
    # The module's limit is global: it is put back, and two readers take turns.
    with _LIMIT_LOCK:
        before = csv.field_size_limit(LONGEST_CELL)
        try:
            yield
        finally:
            csv.field_size_limit(before)
