"""Reports and figures show texts as they are, whatever they hold."""

from __future__ import annotations

from xml.etree import ElementTree

from cuecard.comparison.contest.figures import Dot, curve_figure, interval_figure
from cuecard.comparison.contest.pages import ReportSection, as_html, as_latex, as_markdown
from cuecard.types import Interval

HOSTILE = '<script>alert(1)</script> & "x" | `y` $z_1$ 50% #\\'
SVG = "{http://www.w3.org/2000/svg}"
DOTS = [
    Dot("one", 0.5, Interval(0.4, 0.6), 16),
    Dot(HOSTILE, 0.9, Interval(0.8, 0.95), 16, marked=True),
    Dot("one", 0.7, None, 128),
]


def test_dots_stand_where_their_scores_are() -> None:
    root = ElementTree.fromstring(interval_figure(DOTS, HOSTILE, "accuracy"))
    at = [float(dot.attrib["cx"]) for dot in root.iter(f"{SVG}circle")]
    assert at[0] < at[2] < at[1]
    # The same distance in score is the same distance in the figure.
    scale = (at[1] - at[0]) / 0.4
    assert abs((at[2] - at[0]) / 0.2 - scale) < 2
    spans = [e.attrib for e in root.iter(f"{SVG}line") if e.attrib["stroke-width"] == "2"]
    widths = [float(span["x2"]) - float(span["x1"]) for span in spans]
    assert abs(widths[0] - 0.2 * scale) < 1 and widths[2] == 0
    assert root.find(f"{SVG}title").text == HOSTILE  # type: ignore[union-attr]
    assert root.find(f"{SVG}script") is None
    assert "one 0.500 (0.400 to 0.600)" in str(root.find(f"{SVG}desc").text)  # type: ignore[union-attr]


def test_a_curve_has_a_line_for_each_name() -> None:
    root = ElementTree.fromstring(curve_figure(DOTS, "title", "accuracy"))
    lines = [line.attrib["points"].split() for line in root.iter(f"{SVG}polyline")]
    assert sorted(map(len, lines)) == [1, 2]
    x = [float(point.split(",")[0]) for point in max(lines, key=len)]
    assert x[0] < x[1]
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"one", HOSTILE, "16", "128"} <= set(texts)


def test_all_scores_alike_are_drawn() -> None:
    same = [Dot("a", 1.0, None, 10), Dot("b", 1.0, None, 10)]
    for svg in (interval_figure(same, "t", "x"), curve_figure(same, "t", "x")):
        assert "nan" not in svg and ElementTree.fromstring(svg) is not None


def test_texts_are_no_markup() -> None:
    svg = interval_figure(DOTS, HOSTILE, "accuracy")
    section = ReportSection(HOSTILE, ("a", HOSTILE), [(HOSTILE, "1")], (HOSTILE,), {"f.svg": svg})
    page = as_html(HOSTILE, [section])
    assert "<script" not in page and "&lt;script&gt;" in page
    assert page.count("<svg") == 1 and "src=" not in page and "href=" not in page
    markdown = as_markdown(HOSTILE, [section])
    assert "<script>" not in markdown and "](f.svg)" in markdown
    latex = as_latex(("a", HOSTILE), [(HOSTILE, "1")])
    line = latex.splitlines()[4]
    assert r"\$z\_1\$ 50\% \#\textbackslash{} & 1 \\" in line
