"""Excel workbooks, written as the format has them (ECMA-376) without a library."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

Cell = str | int | float | bool | None
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PARTS = "http://schemas.openxmlformats.org/package/2006"


def save_workbook(
    path: Path, sheets: Mapping[str, Sequence[Sequence[Cell]]], hidden: Sequence[str] = ()
) -> Path:
    """A workbook with these sheets; a cell that is None is not written, nor an empty row."""
    names = list(sheets)
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("[Content_Types].xml", _content_types(len(names)))
        book.writestr("_rels/.rels", _relations([("officeDocument", "xl/workbook.xml")]))
        entries = "".join(
            f'<sheet name="{escape(name)}" sheetId="{n}" r:id="rId{n}"'
            f"{' state=' + chr(34) + 'hidden' + chr(34) if name in hidden else ''}/>"
            for n, name in enumerate(names, 1)
        )
        book.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{_MAIN}" xmlns:r="{_LINKS}"><sheets>{entries}</sheets></workbook>',
        )
        targets = [("worksheet", f"worksheets/sheet{n}.xml") for n, _ in enumerate(names, 1)]
        book.writestr("xl/_rels/workbook.xml.rels", _relations(targets))
        for n, rows in enumerate(sheets.values(), 1):
            book.writestr(f"xl/worksheets/sheet{n}.xml", _sheet(rows))
    return path


def _sheet(rows: Sequence[Sequence[Cell]]) -> str:
    body = "".join(
        f'<row r="{n}">{"".join(_cell(f"{chr(65 + c)}{n}", v) for c, v in enumerate(row))}</row>'
        for n, row in enumerate(rows, 1)
        if row
    )
    return f'<worksheet xmlns="{_MAIN}"><sheetData>{body}</sheetData></worksheet>'


def _cell(at: str, value: Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return f'<c r="{at}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, str):
        text = f'<t xml:space="preserve">{escape(value)}</t>'
        return f'<c r="{at}" t="inlineStr"><is>{text}</is></c>'
    return f'<c r="{at}"><v>{value}</v></c>'


def _relations(targets: Sequence[tuple[str, str]]) -> str:
    inside = "".join(
        f'<Relationship Id="rId{n}" Type="{_LINKS}/{kind}" Target="{target}"/>'
        for n, (kind, target) in enumerate(targets, 1)
    )
    return f'<Relationships xmlns="{_PARTS}/relationships">{inside}</Relationships>'


def _content_types(sheets: int) -> str:
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    parts = [("/xl/workbook.xml", f"{kind}.sheet.main+xml")]
    parts += [
        (f"/xl/worksheets/sheet{n}.xml", f"{kind}.worksheet+xml") for n in range(1, sheets + 1)
    ]
    overrides = "".join(f'<Override PartName="{name}" ContentType="{t}"/>' for name, t in parts)
    default = (
        '<Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    )
    return f'<Types xmlns="{_PARTS}/content-types">{default}{overrides}</Types>'
