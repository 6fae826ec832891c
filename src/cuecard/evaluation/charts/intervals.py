"""Scores with their intervals as dots on lines: what is alike looks alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cuecard.evaluation.charts.axes import axis_of
from cuecard.evaluation.charts.svg import BLUE, FAINT, GREY, element, picture, share, words
from cuecard.evaluation.report import ReportRow
from cuecard.types import Interval
from cuecard.visible import cut

_ROW, _AXIS, _WIDTH = 42, 26, 640
_LONGEST = 56  # characters of a name


@dataclass(frozen=True, slots=True)
class Scored:
    """A score to draw.

    Attributes:
        name: whose it is.
        interval: None where there are too few rows for one.
        strong: whether it is the one that the others are compared with.
    """

    name: str
    value: float
    interval: Interval | None
    strong: bool = False


def contestants(rows: Sequence[ReportRow]) -> list[Scored]:
    """A report's rows, of which the last is the trained prompt, as scores to draw."""
    return [
        Scored(row.prompt, row.score, row.interval, strong=number == len(rows))
        for number, row in enumerate(rows, 1)
    ]


def interval_chart(scores: Sequence[Scored], metric: str, *, ground: str = "none") -> str:
    """One line for each score: its name, its number, and its dot with the interval.

    Args:
        metric: what the numbers are, for the axis.
        ground: the colour behind it; a file that is shown by itself needs one.
    """
    low, high, step = axis_of(score_ends(scores))

    def at(value: float) -> str:
        return share((value - low) / (high - low))

    bottom = _ROW * len(scores)
    count = round((high - low) / step)
    ticks = [low + number * step for number in range(count + 1)]
    grid = [
        element("line", x1=at(tick), x2=at(tick), y1=0, y2=bottom, stroke=FAINT, class_="grid")
        for tick in ticks
    ]
    numbers = [
        words(f"{tick:.2f}", x=at(tick), y=bottom + 17, text_anchor=_anchor(number, count))
        for number, tick in enumerate(ticks)
    ]
    best = next((score for score in scores if score.strong), None)
    mark = (
        element(
            "line",
            x1=at(best.value),
            x2=at(best.value),
            y1=0,
            y2=bottom,
            stroke=BLUE,
            stroke_dasharray="3 4",
            class_="mark",
        )
        if best
        else ""
    )
    behind = element("rect", width="100%", height="100%", fill=ground)
    lanes = [_lane(score, at, _ROW * number) for number, score in enumerate(scores)]
    return picture(
        [behind, *grid, mark, *lanes, *numbers],
        width=_WIDTH,
        height=bottom + _AXIS,
        title=f"{metric} with 95% intervals: {'; '.join(map(_said, scores))}",
        class_="chart intervals",
    )


def interval_bar(value: float, interval: Interval | None, *, low: float = 0.0) -> str:
    """A score between `low` and 1 as a small picture for a table's cell."""

    def at(number: float) -> str:
        return share(min(1.0, max(0.0, (number - low) / (1.0 - low))))

    score = Scored("", value, interval, strong=True)
    lane = element("line", x1="0%", x2="100%", y1=8, y2=8, stroke=FAINT, class_="grid")
    said = _said(score).strip()
    return picture(
        [lane, *_dot(score, at, 8)], width=96, height=16, title=said, class_="chart small"
    )


def _lane(score: Scored, at: Callable[[float], str], top: int) -> str:
    weight = "bold" if score.strong else "normal"
    name = words(cut(score.name, _LONGEST), x=0, y=top + 15, font_weight=weight)
    number = words(
        f"{score.value:.3f}", x="100%", y=top + 15, text_anchor="end", font_weight=weight
    )
    return name + number + "".join(_dot(score, at, top + 29))


def _dot(score: Scored, at: Callable[[float], str], y: int) -> list[str]:
    colour, kind = (BLUE, "strong") if score.strong else (GREY, "other")
    place = at(score.value)
    dot = element("circle", cx=place, cy=y, r=5, fill=colour, class_=f"dot {kind}")
    if score.interval is None:
        return [dot]
    ends = (at(score.interval.low), at(score.interval.high))
    line = element(
        "line", x1=ends[0], x2=ends[1], y1=y, y2=y, stroke=colour, stroke_width=2, class_=kind
    )
    return [line, dot]


def score_ends(scores: Sequence[Scored]) -> list[float]:
    """What an axis of scores has to hold: they, and the ends of their intervals."""
    ends = [score.value for score in scores]
    return ends + [e for s in scores if s.interval for e in (s.interval.low, s.interval.high)]


def _anchor(number: int, last: int) -> str:
    """Numbers at the ends stay within the picture."""
    return "start" if number == 0 else "end" if number == last else "middle"


def _said(score: Scored) -> str:
    interval = score.interval
    within = "" if interval is None else f", {interval.low:.3f} to {interval.high:.3f}"
    return f"{score.name} {score.value:.3f}{within}"
