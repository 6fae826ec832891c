"""Scores over what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

import pytest

from cuecard.evaluation.charts.intervals import Scored
from cuecard.evaluation.charts.pareto import Priced, best_for_cost, pareto_chart
from cuecard.types import Interval

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '<script>alert(1)</script> & "x"'


def priced(*found: tuple[str, float, float]) -> list[Priced]:
    return [Priced(Scored(name, score, None), cost) for name, score, cost in found]


POINTS = priced(
    ("majority", 0.5, 0), ("words", 0.7, 100), ("tfidf", 0.6, 1_000), ("lora", 0.8, 10_000_000)
)


def dots(points: Sequence[Priced]) -> list[tuple[float, float]]:
    root = ElementTree.fromstring(pareto_chart(points, "accuracy", "bytes"))
    found = root.iter(f"{SVG}circle")
    return [(float(dot.attrib["cx"].rstrip("%")), float(dot.attrib["cy"])) for dot in found]


def test_who_is_best_for_what_they_cost() -> None:
    assert [one.scored.name for one in best_for_cost(POINTS)] == ["majority", "words", "lora"]
    # Of as much the better one alone, and who is as good for less.
    same = priced(("a", 0.7, 5), ("b", 0.9, 5), ("c", 0.9, 50), ("d", 0.2, 1))
    assert [one.scored.name for one in best_for_cost(same)] == ["d", "b"]
    assert best_for_cost([]) == []


def test_dots_lie_where_their_costs_and_scores_are() -> None:
    (free, _), (words, up), (tfidf, between), (lora, top) = dots(POINTS)
    assert free < words < tfidf < lora
    # A tenth of the cost is as far from it as the tenth of that.
    assert lora - tfidf == pytest.approx(4 * (tfidf - words), abs=0.05)
    assert between - up == pytest.approx(up - top, abs=0.05)
    root = ElementTree.fromstring(pareto_chart(POINTS, "accuracy", "bytes per task"))
    texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert {"0", "100", "10k", "10M", "bytes per task", "1", "4", "10M · 0.800"} <= {*texts}
    strong = [dot for dot in root.iter(f"{SVG}circle") if dot.attrib["class"] == "dot strong"]
    assert len(strong) == 3
    said = root.attrib["aria-label"]
    assert "majority 0.500 for 0; words 0.700 for 100; lora 0.800 for 10M" in said


def test_numbers_of_dots_beside_each_other_are_apart() -> None:
    close = priced(*((str(n), 0.7 + 0.00001 * n, 100.0) for n in range(4)))
    root = ElementTree.fromstring(pareto_chart(close, "accuracy", "bytes"))
    found = [text for text in root.iter(f"{SVG}text") if "dx" in text.attrib]
    places = {(text.attrib["dx"], round(float(text.attrib["y"]))) for text in found}
    assert len(found) == len(places) == 4


@pytest.mark.parametrize(
    "points",
    [
        priced(("a", 0.5, 0)),
        priced(("a", 0.5, 3)),
        priced(("a", 0.0, 0), ("b", 0.0, 0)),
        priced(("a", -3.0, 1e-3), ("b", 900.0, 1e14)),
    ],
)
def test_everything_is_in_the_picture(points: list[Priced]) -> None:
    svg = pareto_chart(points, "mae", "tokens")
    assert "nan" not in svg
    assert all(0 <= across <= 100 and 0 <= down <= 240 for across, down in dots(points))


def test_hostile_names_are_texts_and_intervals_are_drawn() -> None:
    point = Priced(Scored(HOSTILE, 0.5, Interval(0.4, 0.6)), 8)
    root = ElementTree.fromstring(pareto_chart([point], HOSTILE, HOSTILE))
    assert root.find(f".//{SVG}script") is None
    (bar,) = [line for line in root.iter(f"{SVG}line") if line.attrib.get("class") == "strong"]
    assert float(bar.attrib["y1"]) > float(bar.attrib["y2"])
