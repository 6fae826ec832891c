"""CSV and TSV, strictly: a row is whole or an error."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from cuecard.errors import DataError
from cuecard.tasks.tables import Row, Table, place
from cuecard.tasks.text_files import read_text

DELIMITERS = {".csv": ",", ".tsv": "\t"}
LONGEST_CELL = 1 << 26
"""Characters in a cell; beyond them a quote is surely left open."""

_LIMIT_LOCK = Lock()


def read_delimited(path: Path) -> Table:
    """A CSV or TSV file with a header.

    Raises:
        DataError: no header, a column named twice, a row with another number of cells than the
            header, or broken quotes; with the line on which the row starts.
    """
    delimiter = DELIMITERS[path.suffix.lower()]
    lines = list(_lines(read_text(path), delimiter, str(path)))
    _, header = lines[0]
    header = [name.strip() for name in header]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(
            "a column named twice",
            where=place(str(path), lines[0][0]),
            got=", ".join(map(repr, twice)),
            expected="a header with a different name for each column",
        )
    rows: list[Row] = []
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            raise DataError(
                "a broken row",
                where=place(str(path), number),
                got=_cells(len(cells)),
                expected=f"{_cells(len(header))}: {', '.join(header)}",
                hint="put cells that contain the delimiter or a line break in double quotes",
            )
        rows.append((number, dict(zip(header, cells, strict=True))))
    return Table(str(path), tuple(header), rows)


def _lines(text: str, delimiter: str, source: str) -> Iterator[tuple[int, list[str]]]:
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
                "a broken row",
                where=place(source, start),
                got=str(error),
                expected="cells with balanced double quotes",
                hint='inside a quoted cell a double quote is written twice: ""',
            ) from error


def _cells(count: int) -> str:
    return f"{count} cell{'' if count == 1 else 's'}"


@contextmanager
def _long_cells() -> Iterator[None]:
    # The module's limit is global: it is put back, and two readers take turns.
    with _LIMIT_LOCK:
        before = csv.field_size_limit(LONGEST_CELL)
        try:
            yield
        finally:
            csv.field_size_limit(before)
