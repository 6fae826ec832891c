"""Numbers of extraction contestants: their seeds together, beside the first contestant's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from cuecard.evaluation.report import plain
from cuecard.graphrag.measuring.figures import MeanFigure
from cuecard.graphrag.measuring.matching import MatchCounts
from cuecard.graphrag.measuring.scores import ExtractionScores

_RATES = ("f1", "precision", "recall")

Row = Mapping[str, Any]


def summary_rows(found: Sequence[Row]) -> list[dict[str, Any]]:
    """A row per model, set and contestant, in their order; the first of a set is the baseline.

    Args:
        found: results of cells.
    """
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for each in found:
        groups.setdefault((each["model"], each["set"], each["contestant"]), []).append(each)
    rows = []
    for (model, name, contestant), cells in groups.items():
        row: dict[str, Any] = {"model": model, "set": name, "contestant": contestant}
        wrong = next((each["unsupported"] for each in cells if "unsupported" in each), None)
        if wrong is not None:
            rows.append(row | {"unsupported": wrong})
            continue
        others = {
            other: theirs
            for (its_model, its_set, other), theirs in groups.items()
            if (its_model, its_set) == (model, name)
            and other != contestant
            and not any("unsupported" in each for each in theirs)
        }
        rows.append(row | _numbers(cells) | {"gains": _gains(cells, others)})
    return [plain(row) for row in rows]


def _numbers(cells: Sequence[Row]) -> dict[str, Any]:
    scores = {}
    for key in cells[0]["counts"]:
        figures = {rate: _scores(cells, key).figure(rate) for rate in _RATES}
        scores[key] = {
            **{rate: figure.value for rate, figure in figures.items()},
            "ci95": {rate: figure.interval(0) for rate, figure in figures.items()},
        }
    conforms = _conformance(cells)
    return {
        "texts": len(cells[0]["conforms"]),
        "seeds": len(cells),
        "scores": scores,
        "conformance": conforms.value,
        "conformance_ci95": conforms.interval(0),
        "made": {name: mean(each["made"][name] for each in cells) for name in cells[0]["made"]},
        **{key: mean(each[key] for each in cells) for key in ("read", "written", "cut", "cpu_s")},
    }


def _gains(cells: Sequence[Row], others: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """By how much F1 is higher than another contestant's on the same texts."""
    found: dict[str, Any] = {}
    for other, theirs in others.items():
        for key in cells[0]["counts"]:
            own, its = _scores(cells, key).figure(), _scores(theirs, key).figure()
            gain = {"value": own.value - its.value, "ci95": own.gain(its, 0)}
            found.setdefault(other, {})[key] = gain
    return found


def _scores(cells: Sequence[Row], key: str) -> ExtractionScores:
    """Scores of all seeds: each text's counts are added up."""
    texts = [
        MatchCounts(*({"": sum(parts)} for parts in zip(*counts, strict=True)))
        for counts in zip(*(each["counts"][key] for each in cells), strict=True)
    ]
    what, match = key.split(", ")
    return ExtractionScores(what, match, tuple(texts))  # type: ignore[arg-type]


def _conformance(cells: Sequence[Row]) -> MeanFigure:
    texts = zip(*(each["conforms"] for each in cells), strict=True)
    return MeanFigure(tuple(mean(map(float, each)) for each in texts))
