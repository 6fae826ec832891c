"""Rows as callers have them -> records of a task."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from cuecard.tasks.readers.in_memory import (
    FrameLike,
    frame_columns,
    not_a_row,
    plain,
    rows_table,
)
from cuecard.tasks.readers.tables import Table, Wanted, records
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Image, Record

RecordLike = Record | Mapping[str, Any] | str | bytes | Path | Image
"""A record; a mapping from its fields to their values as a data file has them; or the value alone
where there is one field: a text, or an image by its file, its bytes, or as Pillow has it."""

RowsLike = Iterable[RecordLike] | FrameLike
"""A list of rows, or a data frame or a set of the `datasets` library."""


def given_records(
    spec: TaskSpec,
    rows: RowsLike,
    target: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> list[Record]:
    """The rows as records, read and checked as a data file's rows are.

    Args:
        target: the column of the target; None where it is not read.
        columns: field -> the column that it is read from in rows that have it; others have the
            field's own name.

    Raises:
        DataError: no list of rows, or a row that cannot be used, with its number.
    """
    columns = columns or {}
    there = frame_columns(rows)
    if there is not None:
        wanted = _wanted(spec, target, columns, there)
        return records(rows_table(rows, wanted), wanted) if len(rows) else []  # type: ignore[arg-type]
    if isinstance(rows, str | bytes | Path | Mapping) or not isinstance(rows, Iterable):
        raise not_a_row(rows, "rows", "a list of rows")
    return [_record(spec, n, row, target, columns) for n, row in enumerate(rows, 1)]


def _record(
    spec: TaskSpec, number: int, row: RecordLike, target: str | None, columns: Mapping[str, str]
) -> Record:
    if isinstance(row, Record):
        return row
    values = row if isinstance(row, Mapping) else {_only_field(spec, number, row): row}
    table = Table("rows", None, [(number, {name: plain(cell) for name, cell in values.items()})])
    return records(table, _wanted(spec, target, columns, values))[0]


def _wanted(
    spec: TaskSpec, target: str | None, columns: Mapping[str, str], there: Collection[str]
) -> Wanted:
    """What to take from rows with these columns."""
    columns = {field: column for field, column in columns.items() if column in there}
    readers = spec.readers(target, columns)
    return Wanted(spec.record_fields, target, columns, readers, spec.allow_empty)


def _only_field(spec: TaskSpec, number: int, row: object) -> str:
    """The field whose value stands alone."""
    where, fields = f"rows, row {number}", spec.record_fields
    required = [name for name in fields if name not in spec.allow_empty]
    if len(required) != 1:
        raise not_a_row(row, where, f"a mapping with the fields {', '.join(fields)}")
    reader = spec.readers(None).get(required[0])
    if not isinstance(row, str) and not (reader is not None and reader.files):
        raise not_a_row(row, where, "a text, or a mapping from fields to values")
    return required[0]
