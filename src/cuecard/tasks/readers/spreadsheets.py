"""Excel workbooks (.xlsx), read by python-calamine, which is an extra."""

from __future__ import annotations

import warnings
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

from cuecard.errors import DataError, DataWarning
from cuecard.tasks.readers.compressed import read_whole
from cuecard.tasks.readers.tables import Row, Table, place, refuse_twice


def read_spreadsheet(path: Path) -> Table:
    """The first sheet with rows in it, hidden ones left out; a row's number is the sheet's own.

    Formulas are what Excel last computed. The header is the first row that is not empty; columns
    without a name, and rows without a value, are passed over.

    Raises:
        DataError: python-calamine is missing, a file that is no workbook, no rows, a column named
            twice, or a value beyond the header's columns.
    """
    name, cells = _first_sheet(path)
    source = str(path)
    numbered = [(n, row) for n, row in enumerate(cells, 1) if any(cell != "" for cell in row)]
    if not numbered:
        raise DataError("the file is empty", where=source, got="no cells", expected="rows")
    (header_row, header), *body = numbered
    names = {n: _text(cell).strip() for n, cell in enumerate(header) if _text(cell).strip()}
    refuse_twice([*names.values()], place(source, header_row))
    rows: list[Row] = []
    for number, row in body:
        stray = next((n for n, cell in enumerate(row) if cell != "" and n not in names), None)
        if stray is not None:
            raise DataError(
                "a value in a column without a name",
                where=f"{place(source, number)}, column {_letters(stray)} of sheet {name!r}",
                got=repr(_text(row[stray])[:60]),
                expected=f"values below {', '.join(names.values())}",
                hint="name the column in the first row, or empty it",
            )
        rows.append((number, {text: _value(row[n]) for n, text in names.items()}))
    return Table(source, tuple(names.values()), rows)


def _first_sheet(path: Path) -> tuple[str, list[list[Any]]]:
    """The name and cells of the first sheet that has any."""
    calamine = _calamine(path)
    content = read_whole(path)
    try:
        with calamine.CalamineWorkbook.from_filelike(BytesIO(content)) as book:
            shown = [
                sheet.name
                for sheet in book.sheets_metadata
                if sheet.typ == calamine.SheetTypeEnum.WorkSheet
                and sheet.visible == calamine.SheetVisibleEnum.Visible
            ]
            found = {name: book.get_sheet_by_name(name) for name in shown}
            filled = [name for name, sheet in found.items() if sheet.start is not None]
            cells = found[filled[0]].to_python(skip_empty_area=False) if filled else []
    except (calamine.CalamineError, OSError, ValueError) as error:
        raise DataError(
            "the file cannot be read as a workbook",
            where=str(path),
            got=str(error).strip().split("\n")[0] or type(error).__name__,
            expected="a whole .xlsx file without a password",
        ) from error
    if len(filled) > 1:
        others = ", ".join(map(repr, filled[1:]))
        text = f"{path}: only the first sheet, {filled[0]!r}, is read, not {others}"
        warnings.warn(DataWarning(text), stacklevel=3)
    return (filled[0] if filled else ""), cells


def _calamine(path: Path) -> Any:
    try:
        return import_module("python_calamine")
    except ImportError as error:
        raise DataError(
            "reading workbooks needs python-calamine",
            where=str(path),
            got="it is not installed",
            expected="pip install 'cuecard[excel]'",
            hint="or save the sheet as CSV (UTF-8)",
        ) from error


def _value(cell: Any) -> Any:
    """A cell as other readers give it; empty ones and those without a value are missing."""
    return None if cell == "" else cell


def _text(cell: Any) -> str:
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)


def _letters(column: int) -> str:
    """A column's name as Excel shows it: A, B, ... Z, AA."""
    name, left = "", column + 1
    while left:
        left, digit = divmod(left - 1, 26)
        name = chr(ord("A") + digit) + name
    return name
