"""JSON lines and JSON lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cuecard.errors import DataError
from cuecard.tasks.readers.compressed import data_suffix
from cuecard.tasks.readers.squad_files import squad_rows
from cuecard.tasks.readers.tables import Row, Table, place
from cuecard.tasks.readers.text_files import read_text


def read_json(path: Path) -> Table:
    """A `.jsonl` or `.ndjson` file, or a `.json` file of lines or of one list.

    A row's number is its line, in a list its place. A `.json` file in SQuAD's form gives a row per
    question.

    Raises:
        DataError: a line that is not JSON, or a row that is not an object.
    """
    text, whole = read_text(path), data_suffix(path) == ".json"
    if whole and text.lstrip().startswith("["):
        items = list(enumerate(_parse(text, str(path), None), start=1))
    elif whole and (found := squad_rows(text)) is not None:
        items = list(enumerate(found, start=1))
    else:
        # Not splitlines: that also splits at characters JSON allows inside a string.
        lines = enumerate(text.split("\n"), start=1)
        items = [
            (number, _parse(line, str(path), number)) for number, line in lines if line.strip()
        ]
    rows: list[Row] = []
    for number, item in items:
        if not isinstance(item, dict):
            raise DataError(
                "the row is not an object",
                where=place(str(path), number),
                got=repr(item)[:60],
                expected='an object such as {"text": "...", "label": "..."}',
            )
        rows.append((number, item))
    return Table(str(path), None, rows)


def _parse(text: str, source: str, number: int | None) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        row = error.lineno if number is None else number
        message = f"{error.msg} at column {error.colno}"
        raise _invalid(message, place(source, row)) from error
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, or thousands of brackets.
        where = source if number is None else place(source, number)
        raise _invalid(str(error), where) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; JSON's reader would keep the last of two values of one name and say nothing."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} twice")
    return found


def _invalid(got: str, where: str) -> DataError:
    return DataError(
        "invalid JSON",
        where=where,
        got=got,
        expected="one JSON object a line, or in a .json file one list of objects",
    )
