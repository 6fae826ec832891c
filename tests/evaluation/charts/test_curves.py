"""Scores over training rows, as lines."""

from __future__ import annotations

from xml.etree import ElementTree

from cuecard.evaluation.charts.curves import curve_chart
from cuecard.evaluation.charts.intervals import Scored
from cuecard.types import Interval

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '<script>alert(1)</script> & "x"'
POINTS = [
    (16, Scored("one", 0.5, Interval(0.4, 0.6))),
    (128, Scored("one", 0.7, None)),
    (16, Scored(HOSTILE, 0.9, Interval(0.8, 0.95))),
    (45, Scored("one", 0.6, Interval(0.5, 0.7))),
]


def test_points_stand_where_their_rows_and_scores_are() -> None:
    root = ElementTree.fromstring(curve_chart(POINTS, "accuracy"))
    dots = [
        (float(dot.attrib["cx"].rstrip("%")), float(dot.attrib["cy"]))
        for dot in root.iter(f"{SVG}circle")
    ]
    (few, some, many), (other,) = dots[:3], dots[3:]
    assert few[0] == other[0] < some[0] < many[0]
    # 45 is as many times 16 as 128 is times 45: half-way on a scale of logarithms.
    assert abs((some[0] - few[0]) - (many[0] - some[0])) < 1
    assert abs((few[1] - some[1]) - (some[1] - many[1])) < 0.1
    assert abs(few[1] - other[1] - 4 * (few[1] - some[1])) < 0.1
    bars = [line for line in root.iter(f"{SVG}line") if line.attrib.get("class") == "interval"]
    assert len(bars) == 3
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"one", HOSTILE, "16", "45", "128"} <= set(texts)
    assert root.find(f".//{SVG}script") is None
    assert "one 0.500 at 16, 0.600 at 45, 0.700 at 128" in root.attrib["aria-label"]


def test_one_number_of_rows_and_one_score_are_drawn() -> None:
    svg = curve_chart([(10, Scored("a", 1.0, None)), (10, Scored("b", 1.0, None))], "accuracy")
    assert "nan" not in svg and ElementTree.fromstring(svg) is not None
