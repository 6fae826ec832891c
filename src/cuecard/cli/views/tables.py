"""Text and tables on a terminal: user text as it is, and every column legible at any width.

Nothing that is printed here is markup: not `[red]`, not `:bug:`, not an escape sequence in a label.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cuecard.visible import visible

_GAP = 2  # between two columns
_LONGEST_WORD = 30  # beyond it, a word may be broken to keep a table a table

# Where a word may be broken: behind a hyphen or a slash inside it.
_JOINTS = re.compile(r"(?<=\S[-/])(?=[^\W\d])")

Row = Sequence[str]


def as_text(text: str, style: str = "") -> Text:
    """A text as it is: no markup, no emoji, no control characters."""
    return Text(visible(text), style=style)


def say(out: Console, text: str = "", style: str = "") -> None:
    """Print prose, wrapped at words where the terminal ends."""
    out.print(as_text(text, style))


def say_line(out: Console, text: str) -> None:
    """Print what is to be copied, such as a path or a command: never broken into lines."""
    out.print(as_text(text), soft_wrap=True)


def print_table(
    out: Console,
    columns: Sequence[str],
    rows: Sequence[Row],
    *,
    left: Collection[str] = (),
    bold: Collection[int] = (),
    title: str | None = None,
) -> None:
    """Print rows as a table, or each as a block of `column  value` lines where it would not fit.

    A table fits where no word has to be broken; a name in its first column, such as p-tuning-v2,
    not even at its hyphens.

    Args:
        left: the columns whose values are text, besides the first; others are set right.
        bold: the rows to look at, by place.
        title: printed above.
    """
    if title is not None:
        say(out, title, "bold")
    widths = _widths(columns, rows, out.width)
    if widths is None:
        _print_blocks(out, columns, rows, bold)
        return
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for place, (name, width) in enumerate(zip(columns, widths, strict=True)):
        table.add_column(
            as_text(_broken(name, width)),
            justify="left" if place == 0 or name in left else "right",
            width=width,
            overflow="fold",
        )
    for place, row in enumerate(rows):
        cells = [as_text(_broken(cell, w)) for cell, w in zip(row, widths, strict=True)]
        table.add_row(*cells, style="bold" if place in bold else None)
    out.print(table)


def fits(columns: Sequence[str], rows: Sequence[Row], out: Console) -> bool:
    """Whether `print_table` would print a table."""
    return _widths(columns, rows, out.width) is not None


def print_facts(out: Console, facts: Sequence[tuple[str, str]]) -> None:
    """Print names and values, one below the other."""
    table = Table.grid(padding=(0, _GAP))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(as_text(name), as_text(value))
    out.print(table)


def _print_blocks(
    out: Console, columns: Sequence[str], rows: Sequence[Row], bold: Collection[int]
) -> None:
    for place, row in enumerate(rows):
        if place:
            out.print()
        table = Table.grid(padding=(0, _GAP))
        table.add_column(no_wrap=True, style="dim")
        table.add_column(overflow="fold", style="bold" if place in bold else "")
        for name, value in zip(columns, row, strict=True):
            if value:
                table.add_row(as_text(name), as_text(value))
        out.print(table)


def _widths(columns: Sequence[str], rows: Sequence[Row], width: int) -> list[int] | None:
    """Each column's width in cells; None where some word would have to be broken."""
    full = [
        max([cell_len(name), *(_longest_line(visible(row[place])) for row in rows)])
        for place, name in enumerate(columns)
    ]
    least = [
        max(
            [
                _longest_word(name),
                *(_longest_word(row[place], name=place == 0) for row in rows),
            ]
        )
        for place, name in enumerate(columns)
    ]
    left = width - _GAP * (len(columns) - 1) - sum(least)
    if left < 0:
        return None
    # What is left is shared out evenly, so that short columns get all that they need.
    found = list(least)
    while lacking := [n for n in range(len(found)) if found[n] < full[n]][:left]:
        for place in lacking:
            found[place] += 1
        left -= len(lacking)
    return found


def _broken(text: str, width: int) -> str:
    """A text with line breaks at the joints of the words that are wider than the column."""
    words = text.split(" ")
    return " ".join(w if cell_len(w) <= width else _JOINTS.sub("\n", w) for w in words)


def _longest_line(text: str) -> int:
    return max((cell_len(line) for line in text.split("\n")), default=0)


def _longest_word(text: str, *, name: bool = False) -> int:
    whole = visible(text)
    words = [whole] if name and " " not in whole else _JOINTS.sub(" ", whole).split()
    longest = max(map(cell_len, words), default=0)
    return max(1, min(longest, _LONGEST_WORD))
