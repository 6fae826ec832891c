from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from cuecard.evaluation.charts.intervals import Scored, interval_bar, interval_chart
from cuecard.evaluation.charts.shares import bar, reliability_bins, reliability_chart
from cuecard.types import Interval

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert(1)</script>\x00\x1b\ud800\"'&"


def shares(text: str, tag: str, attribute: str) -> list[float]:
    found = ElementTree.fromstring(text).iter(f"{SVG}{tag}")
    return [float(one.get(attribute, "").rstrip("%")) for one in found]


def test_dots_lie_where_their_scores_are() -> None:
    scores = [
        Scored("majority", 0.5, Interval(0.4, 0.6)),
        Scored("trained", 0.9, Interval(0.8, 1.0), strong=True),
        Scored("few rows", 0.7, None),
    ]
    text = interval_chart(scores, "accuracy")
    places = shares(text, "circle", "cx")
    # The axis goes from 0.4 to 1.0.
    assert places == [pytest.approx(100 * (s.value - 0.4) / 0.6, abs=0.01) for s in scores]
    assert len(re.findall('class="other"', text)) == 1  # the line of the one with an interval
    assert "trained 0.900, 0.800 to 1.000" in text


@pytest.mark.parametrize(
    "values", [(0.5,), (0.0, 0.0), (1.0,), (-3.0, 1200.0), (0.123, 0.1231), (5e5,)]
)
def test_everything_is_on_the_axis(values: tuple[float, ...]) -> None:
    text = interval_chart([Scored("x", value, None) for value in values], "mae")
    assert all(-0.01 <= place <= 100.01 for place in shares(text, "circle", "cx"))
    ticks = [one for one in ElementTree.fromstring(text).iter(f"{SVG}line") if one.get("y1") == "0"]
    assert 2 <= len(ticks) <= 8


def test_hostile_names() -> None:
    for text in (
        interval_chart([Scored(HOSTILE, 0.5, None)], HOSTILE),
        bar(0.5, HOSTILE),
    ):
        assert "<script" not in text
        assert "alert(1)" in "".join(ElementTree.fromstring(text).itertext())


def test_small_pictures() -> None:
    assert shares(interval_bar(0.25, Interval(0.0, 1.0)), "circle", "cx") == [25.0]
    assert shares(bar(0.25, "a quarter"), "rect", "width") == [100.0, 25.0]


def test_reliability() -> None:
    answers = [(0.0, False), (0.1, True), (0.95, True), (0.97, False), (1.0, True)]
    bins = reliability_bins(answers)
    assert [(each.rows, round(each.right, 3)) for each in bins] == [(2, 0.5), (3, 0.667)]
    assert round(bins[1].sure, 4) == 0.9733
    assert reliability_chart(bins).count("<circle") == 2
    assert "<circle" not in reliability_chart([])
