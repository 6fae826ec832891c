"""A run's report: one table of prompts, written as JSON for machines and Markdown for people."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel

from cuecard.lazy import np
from cuecard.plain_files import write_text
from cuecard.types import Interval

# Beside a prompt's name and its kind's two metrics; the interval is of the first.
_MORE_COLUMNS = (
    "95% interval",
    "prompt tokens/request",
    "bytes/task",
    "fit CPU-s",
    "test s",
)


def columns_for(headings: Sequence[str]) -> tuple[str, ...]:
    """A table's columns.

    Args:
        headings: what the kind of task calls its two metrics.
    """
    return ("prompt", *headings, *_MORE_COLUMNS)


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One prompt in the table.

    Attributes:
        prompt: what it is called.
        score: accuracy, ROUGE-L of texts, recall@1 of texts looked up, or what the kind of task has
            in its place.
        second: macro-F1, token F1, recall@10, and the like.
        interval: of the score; None where there are too few rows for one.
        prompt_tokens: tokens per request besides the record's own text.
        bytes_per_task: what one more task costs on disk.
        fit_cpu_seconds: CPU time to train, fit or choose it; None where nothing was to be done.
        seconds: wall time to answer the test rows; None where nothing was run.
    """

    prompt: str
    score: float
    second: float
    interval: Interval | None
    prompt_tokens: int
    bytes_per_task: int
    fit_cpu_seconds: float | None
    seconds: float | None

    def cells(self) -> tuple[str, ...]:
        """The row as text, one string per column."""
        return (
            self.prompt,
            f"{self.score:.3f}",
            f"{self.second:.3f}",
            "-" if self.interval is None else interval_text(self.interval),
            f"{self.prompt_tokens:,}",
            f"{self.bytes_per_task:,}",
            "-" if self.fit_cpu_seconds is None else f"{self.fit_cpu_seconds:.1f}",
            "-" if self.seconds is None else f"{self.seconds:.1f}",
        )


@dataclass(frozen=True, slots=True)
class Pictures:
    """A table of pictures.

    Attributes:
        title: its heading.
        columns: the picture's and those of the texts behind it.
        rows: each picture's path, relative to the report, and the texts.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]


def interval_text(interval: Interval) -> str:
    """An interval in a table's cell."""
    return f"{interval.low:.3f} - {interval.high:.3f}"


def within(value: float, ends: Sequence[float], form: str = ".3f") -> str:
    """A value and its interval in a table's cell.

    Args:
        form: how each number is written; "+.3f" for a difference.
    """
    return f"{value:{form}} [{', '.join(f'{end:{form}}' for end in ends)}]"


def paired(interval: Interval) -> str:
    """The interval of a difference in words."""
    if not math.isfinite(interval.low):
        return "too few rows for an interval"
    return f"paired 95% interval {interval.low:+.3f} to {interval.high:+.3f}"


def markdown_table(rows: Sequence[ReportRow], *, columns: Sequence[str]) -> str:
    """The table as Markdown, ending in a line break."""
    return markdown_cells([row.cells() for row in rows], columns=columns)


def markdown_cells(
    rows: Sequence[Sequence[str]], *, columns: Sequence[str], numbers: bool = True
) -> str:
    """A table of texts as Markdown, ending in a line break.

    Args:
        numbers: whether numbers stand after the first column.
    """
    return _table(columns, list(map(markdown_row, rows)), numbers=numbers)


def _table(columns: Sequence[str], rows: Sequence[str], *, numbers: bool = False) -> str:
    under = "---:" if numbers else "---"
    line = f"| {' | '.join(['---', *(under for _ in columns[1:])])} |"
    return "\n".join([markdown_row(columns), line, *rows]) + "\n"


def _pictured(file: str, cells: Sequence[str]) -> str:
    """A row of texts, behind a picture."""
    return f"| ![]({quote(file)}) {markdown_row(cells)}"


def write_json(report: Mapping[str, Any], path: str | Path) -> Path:
    """Write a report as JSON, whole or not at all.

    Intervals become [low, high], other dataclasses mappings, arrays lists, paths their text, and
    numbers that JSON has no name for null.
    """
    text = json.dumps(plain(report), indent=2, ensure_ascii=False, allow_nan=False)
    return write_text(text + "\n", path)


def write_cells(
    path: str | Path,
    *,
    title: str,
    rows: Sequence[Sequence[str]],
    columns: Sequence[str],
    notes: Sequence[str],
) -> Path:
    """`write_markdown` of a table of texts, and notes."""
    parts = [
        f"# {markdown_text(title)}\n",
        markdown_cells(rows, columns=columns),
        "".join(f"- {markdown_text(note)}\n" for note in notes),
    ]
    return write_text("\n".join(parts), path)


def write_markdown(
    path: str | Path,
    *,
    title: str,
    rows: Sequence[ReportRow],
    columns: Sequence[str],
    notes: Sequence[str] = (),
    more: tuple[Sequence[str], Sequence[Sequence[str]]] | None = None,
    figures: Mapping[str, str] | None = None,
    pictures: Pictures | None = None,
) -> Path:
    """Write a report as Markdown: a title, the table, notes as a list, figures by relative path.

    Args:
        more: a second table's columns and rows, after the notes.
        pictures: a last one, of pictures.

    Titles, cells, notes and captions are texts, not markup.
    """
    parts = [f"# {markdown_text(title)}\n"]
    if rows:
        parts.append(markdown_table(rows, columns=columns))
    if notes:
        parts.append("".join(f"- {markdown_text(note)}\n" for note in notes))
    if more is not None:
        parts.append(markdown_cells(more[1], columns=more[0]))
    parts.extend(
        f"![{markdown_text(caption)}]({quote(file)})\n" for caption, file in (figures or {}).items()
    )
    if pictures is not None:
        parts.append(f"## {markdown_text(pictures.title)}\n")
        parts.append(_table(pictures.columns, [_pictured(*row) for row in pictures.rows]))
    return write_text("\n".join(parts), path)


def markdown_text(text: str) -> str:
    """A text on one line that Markdown shows as it is: no emphasis, link, HTML, cell or formula."""
    escaped = re.sub(r"([\\`*_{}\[\]<>#|~&$])", r"\\\1", " ".join(text.split()))
    # GitHub turns :bug: into a picture after it has taken the backslashes off.
    return re.sub(r":(?=[\w+-]+:)", ":<!-- -->", escaped)


def markdown_row(cells: Sequence[str]) -> str:
    """A table's row of texts."""
    return f"| {' | '.join(map(markdown_text, cells))} |"


def plain(value: Any) -> Any:
    """A value as what JSON knows: mappings, lists, text, finite numbers, booleans and null."""
    if isinstance(value, Interval):
        return [plain(value.low), plain(value.high)]
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="json"))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value
