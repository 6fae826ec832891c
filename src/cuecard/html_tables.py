"""Tables and facts as pieces of HTML, for notebooks and for reports.

They have no colours of their own, so that they are read on light and on dark pages, and need no
style sheet, which notebooks take out of what they do not trust. Every text is shown as text.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from html import escape

from cuecard.visible import cut, visible

_MOST_ROWS = 50
_LONGEST = 400  # characters of a cell
_LINE = "border-bottom:1px solid #8884;padding:.2em .6em;"
_TEXT, _NUMBER = f"{_LINE}text-align:left", f"{_LINE}text-align:right;white-space:nowrap"


def html_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, bold: Collection[int] = ()
) -> str:
    """A table, each row of which is named by its first cell.

    Args:
        bold: the numbers of rows that stand out.
    """
    head = "".join(
        f'<th scope="col" style="{_NUMBER if place else _TEXT}">{html_text(name)}</th>'
        for place, name in enumerate(columns)
    )
    shown = rows[:_MOST_ROWS]
    body = "".join(_row(cells, bold=number in bold) for number, cells in enumerate(shown))
    more = len(rows) - len(shown)
    return _wide(f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>") + (
        f"<p>and {more:,} more rows</p>" if more else ""
    )


def html_facts(facts: Iterable[tuple[str, str]]) -> str:
    """Names and what is said of each."""
    rows = (
        f'<tr><th scope="row" style="{_TEXT}">{html_text(name)}</th>'
        f'<td style="{_TEXT}">{html_text(value)}</td></tr>'
        for name, value in facts
    )
    return _wide(f"<tbody>{''.join(rows)}</tbody>")


def html_notes(notes: Iterable[str]) -> str:
    """Sentences as a list; nothing for none."""
    items = "".join(f"<li>{html_text(note)}</li>" for note in notes)
    return f"<ul>{items}</ul>" if items else ""


def html_view(title: str, *parts: str) -> str:
    """What a notebook shows of an object.

    Args:
        parts: HTML.
    """
    return f'<div class="cuecard"><p><b>{html_text(title)}</b></p>{"".join(parts)}</div>'


def html_text(text: str) -> str:
    """A text as HTML: neither tags nor control characters of its own are obeyed."""
    return escape(visible(cut(text, _LONGEST))).replace("\n", "<br>")


def _row(cells: Sequence[str], *, bold: bool) -> str:
    first, *others = map(html_text, cells)
    weight = ";font-weight:bold" if bold else ""
    numbers = "".join(f'<td style="{_NUMBER}{weight}">{cell}</td>' for cell in others)
    return f'<tr><th scope="row" style="{_TEXT}{weight}">{first}</th>{numbers}</tr>'


def _wide(inside: str) -> str:
    table = f'<table style="border-collapse:collapse">{inside}</table>'
    return f'<div class="wide" style="overflow-x:auto">{table}</div>'
