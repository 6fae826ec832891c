"""Reports and figures show texts as they are, whatever they hold."""

from __future__ import annotations

from cuecard.comparison.contest.pages import ReportSection, as_html, as_markdown
from cuecard.comparison.table_files import as_latex
from cuecard.evaluation.charts.intervals import Scored, interval_chart

HOSTILE = '<script>alert(1)</script> & "x" | `y` $z_1$ 50% #\\'


def test_texts_are_no_markup() -> None:
    svg = interval_chart([Scored(HOSTILE, 0.5, None)], HOSTILE)
    section = ReportSection(HOSTILE, ("a", HOSTILE), [(HOSTILE, "1")], (HOSTILE,), {"f.svg": svg})
    page = as_html(HOSTILE, [section])
    assert "<script" not in page and "&lt;script&gt;" in page
    assert page.count("<svg") == 1 and "src=" not in page and "href=" not in page
    markdown = as_markdown(HOSTILE, [section])
    assert "<script>" not in markdown and "](f.svg)" in markdown
    latex = as_latex(("a", HOSTILE), [(HOSTILE, "1")])
    line = latex.splitlines()[4]
    assert r"\$z\_1\$ 50\% \#\textbackslash{} & 1 \\" in line
