"""A contest's report as Markdown, and as a page of HTML by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from cuecard.evaluation.report import markdown_cells, markdown_text
from cuecard.html_tables import html_table

_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem}
table{font-size:.9rem}
svg{width:100%;max-width:48rem;overflow:visible;display:block;margin:1rem 0}
svg .words{fill:currentColor}
"""


@dataclass(frozen=True)
class ReportSection:
    """A part of the report.

    Attributes:
        title: its heading; empty for the first part.
        columns, rows: its table; none for no table.
        notes: sentences.
        figures: SVG by the file that it is kept in, for formats that do not hold it.
    """

    title: str
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    notes: Sequence[str] = ()
    figures: Mapping[str, str] = field(default_factory=dict)


def as_markdown(title: str, sections: Sequence[ReportSection]) -> str:
    """The report; figures by their files."""
    parts = [f"# {markdown_text(title)}\n"]
    for section in sections:
        if section.title:
            parts.append(f"## {markdown_text(section.title)}\n")
        parts += [f"![{markdown_text(section.title or title)}]({f})\n" for f in section.figures]
        if section.rows:
            parts.append(markdown_cells(section.rows, columns=section.columns))
        if section.notes:
            parts.append("".join(f"- {markdown_text(note)}\n" for note in section.notes))
    return "\n".join(parts)


def as_html(title: str, sections: Sequence[ReportSection]) -> str:
    """The report in one file, which asks for no other."""
    parts = [f"<h1>{escape(title)}</h1>"]
    for section in sections:
        if section.title:
            parts.append(f"<h2>{escape(section.title)}</h2>")
        parts += section.figures.values()
        if section.rows:
            parts.append(html_table(section.columns, section.rows))
        if section.notes:
            notes = "".join(f"<li>{escape(note)}</li>" for note in section.notes)
            parts.append(f"<ul>{notes}</ul>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )
