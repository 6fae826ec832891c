"""Tables for spreadsheets and papers: CSV with whole numbers, LaTeX as it is shown."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from cuecard.evaluation.report import ReportRow
from cuecard.visible import inert

Value = str | float | int | None

# What TeX would take for a command.
_TEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    }
)
_COSTS = ("prompt_tokens", "bytes_per_task", "fit_cpu_seconds", "test_seconds")


def as_csv(columns: Sequence[str], rows: Sequence[Sequence[Value]]) -> str:
    """A table as CSV: numbers with all their digits, empty where there is none.

    Texts that a spreadsheet would run as a formula are kept from it.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(map(inert, row) for row in (columns, *rows))
    return text.getvalue()


def as_latex(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of the package booktabs."""
    lines = [
        f"\\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}",
        r"\toprule",
        _tex_row(columns),
        r"\midrule",
        *map(_tex_row, rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def proof_csv(rows: Sequence[ReportRow], headings: Sequence[str]) -> str:
    """The table of a run's report as CSV.

    Args:
        headings: what the kind of task calls its two metrics.
    """
    columns = ("prompt", headings[0], "low", "high", headings[1], *_COSTS)
    return as_csv(columns, [_values(row) for row in rows])


def _values(row: ReportRow) -> list[Value]:
    ends = (None, None) if row.interval is None else (row.interval.low, row.interval.high)
    costs = (row.prompt_tokens, row.bytes_per_task, row.fit_cpu_seconds, row.seconds)
    return [row.prompt, row.score, *ends, row.second, *costs]


def _tex_row(cells: Sequence[str]) -> str:
    return " & ".join(cell.translate(_TEX) for cell in cells) + r" \\"
