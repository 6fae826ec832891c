"""Rows of named values, wherever they come from, and what makes a record of one."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from cuecard.errors import DataError
from cuecard.tasks.readers.columns import ColumnReader
from cuecard.tasks.similar import nearest
from cuecard.types import Record, Value

Row = tuple[int, Mapping[str, Any]]

TARGET = ""
"""The target's name among a row's cells; no field is called so."""


@dataclass(frozen=True, slots=True)
class Table:
    """A source of rows, read once.

    Attributes:
        source: the file, folder or hub name.
        columns: the columns' names; None where each row brings its own.
        rows: row number, as an editor shows it, and the row's values.
        class_names: column -> the names of its class numbers.
        files: the file that each row is, in order, where each is one.
    """

    source: str
    columns: tuple[str, ...] | None
    rows: Iterable[Row]
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    files: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to take from each row.

    Attributes:
        fields: the record's fields.
        target: the column of the label; None to leave the labels unread.
        columns: field -> the column it is read from, where that is not its own name.
        readers: field, or TARGET -> how it is read, where it is no plain text.
        optional: fields that may be empty or absent in a row; their text is then "".
        group: the column of the record's group; None for none.
    """

    fields: Sequence[str]
    target: str | None
    columns: Mapping[str, str] = field(default_factory=dict)
    readers: Mapping[str, ColumnReader[Value]] = field(default_factory=dict)
    optional: Collection[str] = ()
    group: str | None = None

    def column(self, name: str) -> str:
        """The column a field is read from."""
        return self.columns.get(name, name)

    @property
    def files(self) -> bool:
        """Whether a field is a file of its own, such as an image."""
        return any(reader.files for reader in self.readers.values())

    @property
    def needed(self) -> tuple[str, ...]:
        """All columns to read, each once."""
        asked = [*self.fields, TARGET] if self.target is not None else self.fields
        columns = [
            self.readers[n].columns if n in self.readers else (self._plain(n),) for n in asked
        ]
        group = () if self.group is None else (self.group,)
        return tuple(dict.fromkeys(column for some in [*columns, group] for column in some))

    def _plain(self, name: str) -> str:
        return self.column(name) if name != TARGET else str(self.target)


def records(table: Table, wanted: Wanted, limit: int | None = None) -> list[Record]:
    """The table's first rows as records, every one checked.

    Raises:
        DataError: no such column, no rows, or a row with an empty text, a missing label or a
            value that is not text.
    """
    if table.columns is not None:
        require_columns(wanted.needed, table.columns, table.source)
    found = list(islice(_records(table, wanted), limit))
    if not found:
        raise DataError(
            "there are no rows", where=table.source, got="0 rows", expected="one or more"
        )
    return found


# Columns that are read where none are named.
_FLAGS = {
    "text": "name the column of the texts with --text-field",
    "label": "name the column of the labels with --label-field",
}


def require_columns(needed: Iterable[str], columns: Iterable[str], where: str) -> None:
    """Raise DataError where a needed column is not among the columns."""
    there = list(columns)
    for name in needed:
        if name not in there:
            raise DataError(
                f"there is no column {name!r}",
                where=where,
                got=f"columns {', '.join(map(repr, there)) or '(none)'}",
                expected=f"a column {name!r}",
                hint=_renaming(nearest(name, there)) or _other_delimiter(there) or _FLAGS.get(name),
            )


def _renaming(hint: str | None) -> str | None:
    look_alike = hint is not None and hint.startswith("there is ")
    return f"{hint}; use that name, or rename the column" if look_alike else hint


def refuse_twice(header: Sequence[str], where: str) -> None:
    """Raise DataError where two columns have the same name."""
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(
            "a column named twice",
            where=where,
            got=", ".join(map(repr, twice)),
            expected="a header with a different name for each column",
            hint="rename one of them",
        )


def place(source: str, row: int) -> str:
    """A file and row as errors name them; row 0 is a file that is itself a row."""
    return f"{source}, row {row}" if row else source


def record_place(record: Record) -> str | None:
    """Where a record came from; None for one made in memory."""
    return place(record.source, record.row) if record.source else None


def as_text(value: object, where: str) -> str | None:
    """A cell as text; None where it is missing. Numbers as a person writes them: 1, not 1.0."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (int, float)):
        return str(value)
    if not isinstance(value, str):
        raise DataError(
            "the value is not text",
            where=where,
            got=type(value).__name__,
            expected="a string, a number, true or false",
        )
    return _checked(value, where)


def _records(table: Table, wanted: Wanted) -> Iterator[Record]:
    for number, values in table.rows:
        source, row = (table.files[number - 1], 0) if table.files else (table.source, number)
        where = place(source, row)
        if table.columns is None:
            absent = {wanted.column(name) for name in wanted.optional} - values.keys()
            require_columns([c for c in wanted.needed if c not in absent], values, where)
        readers, names = wanted.readers, table.class_names
        fields = {
            name: readers[name].read(values, names, where)
            if name in readers
            else _field(values, name, wanted, where)
            for name in wanted.fields
        }
        _refuse_all_empty(fields, where)
        target: Value | None = None
        if wanted.target is not None and TARGET in readers:
            target = readers[TARGET].read(values, names, where)
        elif wanted.target is not None:
            target = _target(table, values, wanted.target, where)
        group = "" if wanted.group is None else as_text(values[wanted.group], where) or ""
        yield Record(fields, target, source, row, group)


def _field(values: Mapping[str, Any], name: str, wanted: Wanted, where: str) -> str:
    column = wanted.column(name)
    place, optional = f"{where}, column {column!r}", name in wanted.optional
    text = as_text(values.get(column) if optional else values[column], place)
    if text is not None and text.strip():
        return text
    if optional:
        return ""
    allowed = f", or allow it in training: --allow-empty {name}" if len(wanted.fields) > 1 else ""
    raise DataError(
        "the text is empty",
        where=place,
        got="nothing" if text is None else repr(text[:20]),
        expected="some text",
        hint=f"remove the row{allowed}",
    )


def _refuse_all_empty(fields: Mapping[str, Value], where: str) -> None:
    if fields and not any(fields.values()):
        raise DataError(
            "the row has no text",
            where=where,
            got=f"nothing in {', '.join(map(repr, fields))}",
            expected="some text in one of them",
            hint="remove the row",
        )


def _target(table: Table, values: Mapping[str, Any], column: str, where: str) -> str:
    value = values[column]
    names = table.class_names.get(column)
    if names is not None and isinstance(value, int):
        value = names[value] if 0 <= value < len(names) else None
    text = as_text(value, f"{where}, column {column!r}")
    if text is None or not text.strip():
        raise DataError(
            "the label is missing",
            where=f"{where}, column {column!r}",
            got="nothing",
            expected="a label",
            hint="label the row or remove it",
        )
    return text.strip()


def _checked(text: str, where: str) -> str:
    if "\0" in text:
        raise DataError(
            "the text has a NUL character", where=where, got=r"'\x00'", expected="readable text"
        )
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise DataError(
                "the text has an unpaired surrogate",
                where=where,
                got=repr(text[error.start : error.end]),
                expected="whole Unicode characters",
            ) from error
    return text


def _other_delimiter(columns: Sequence[str]) -> str | None:
    marks = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}
    if len(columns) == 1:
        for mark, name in marks.items():
            if mark in columns[0]:
                return f"the columns look separated by {name}; use commas in .csv, tabs in .tsv"
    return None
