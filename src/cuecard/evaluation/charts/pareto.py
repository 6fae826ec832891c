"""Scores over what they cost: who is best for so much, and who costs more for less."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from cuecard.evaluation.charts.axes import axis_of, score_lines
from cuecard.evaluation.charts.intervals import Scored, score_ends
from cuecard.evaluation.charts.svg import BLUE, GREY, element, picture, share, words
from cuecard.visible import cut

_WIDTH, _HEIGHT, _TOP, _AXIS, _LANE = 640, 240, 16, 48, 22
_NARROW = 330  # as wide as on a phone
_LONGEST = 40  # characters of a name
_LEFT, _RIGHT = 0.09, 0.98
_ROOM = 0.03  # between the ends of the axis and the first and the last dot
_ZERO = 0.1  # what costs nothing lies so far before the rest, which has logarithms
_MOST_TICKS = 7
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
# Where a dot's number may lie, beside it and then above and below: across, down, its anchor.
_PLACES = ((8, 4, "start"), (-8, 4, "end"), (0, -9, "middle"), (0, 19, "middle"), (8, -8, "start"))


@dataclass(frozen=True, slots=True)
class Priced:
    """A score and what it cost, in whatever unit."""

    scored: Scored
    cost: float


def best_for_cost(points: Sequence[Priced]) -> list[Priced]:
    """Those that nothing else beats or equals for as much or less; the cheapest first."""
    found: list[Priced] = []
    for point in sorted(points, key=lambda one: (one.cost, -one.scored.value)):
        if not found or point.scored.value > found[-1].scored.value:
            found.append(point)
    return found


def pareto_chart(points: Sequence[Priced], metric: str, cost: str) -> str:
    """A numbered dot for each score over its cost, on a scale of logarithms; names are below.

    A line goes through those that are best for what they cost.

    Args:
        metric: what the numbers are, larger is better.
        cost: what it is counted in.
    """
    axis = axis_of(score_ends([point.scored for point in points]))
    low, high, _ = axis
    scale = _CostScale([point.cost for point in points])
    best = best_for_cost(points)

    def x(value: float) -> float:
        inner = _RIGHT - _LEFT - 2 * _ROOM
        return _LEFT + _ROOM + inner * scale.at(value)

    def y(score: float) -> float:
        return round(_TOP + (_HEIGHT - _TOP) * (high - score) / (high - low), 2)

    parts = score_lines(axis, y, _LEFT, _RIGHT)
    for tick in scale.ticks():
        across = share(x(tick))
        parts.append(words(_short(tick), x=across, y=_HEIGHT + 17, text_anchor="middle"))
    middle = share((_LEFT + _RIGHT) / 2)
    parts.append(words(cost, x=middle, y=_HEIGHT + 36, text_anchor="middle"))
    parts += _frontier(best, x, y)
    parts += _dots(points, best, x, y)
    parts += _numbers(points, best, x, y)
    for number, point in enumerate(points, 1):
        lane = _HEIGHT + _AXIS + _LANE * number - 6
        parts += _legend(number, point, strong=point in best, y=lane)
    said = (f"{one.scored.name} {one.scored.value:.3f} for {_short(one.cost)}" for one in best)
    return picture(
        parts,
        width=_WIDTH,
        height=_HEIGHT + _AXIS + _LANE * len(points),
        title=f"{metric} by {cost}; the best for what they cost: {'; '.join(said)}",
        class_="chart pareto",
    )


class _CostScale:
    """Costs as places from 0 to 1: by their logarithms, what costs nothing before them all."""

    def __init__(self, costs: Sequence[float]) -> None:
        logs = [math.log10(cost) for cost in costs if cost > 0]
        self._low = math.floor(min(logs, default=0.0) + 1e-9)
        self._high = max(math.ceil(max(logs, default=0.0) - 1e-9), self._low + 1)
        self._free = any(cost <= 0 for cost in costs)
        self._some = bool(logs)

    def at(self, cost: float) -> float:
        """The place of a cost."""
        if cost <= 0:
            return 0.0
        start = _ZERO if self._free else 0.0
        return start + (1 - start) * (math.log10(cost) - self._low) / (self._high - self._low)

    def ticks(self) -> Iterator[float]:
        """Nothing, if something costs nothing, and powers of ten."""
        if self._free:
            yield 0.0
        if self._some:
            step = -(-(self._high - self._low + 1) // _MOST_TICKS)
            yield from (10.0**power for power in range(self._low, self._high + 1, step))


def _frontier(
    best: Sequence[Priced], x: Callable[[float], float], y: Callable[[float], float]
) -> Iterator[str]:
    """What the best for each cost reach, as steps."""
    look = {"stroke": BLUE, "stroke_width": 1.5, "stroke_dasharray": "3 4", "class_": "mark"}
    for one, other in pairwise(best):
        at, below, above = share(x(other.cost)), y(one.scored.value), y(other.scored.value)
        yield element("line", x1=share(x(one.cost)), x2=at, y1=below, y2=below, **look)
        yield element("line", x1=at, x2=at, y1=below, y2=above, **look)


def _dots(
    points: Sequence[Priced],
    best: Sequence[Priced],
    x: Callable[[float], float],
    y: Callable[[float], float],
) -> Iterator[str]:
    """Each point's interval and dot."""
    for point in points:
        colour, kind = (BLUE, "strong") if point in best else (GREY, "other")
        across, down = share(x(point.cost)), y(point.scored.value)
        interval = point.scored.interval
        if interval is not None:
            bar = {"x1": across, "x2": across, "y1": y(interval.low), "y2": y(interval.high)}
            yield element("line", **bar, stroke=colour, class_=kind)
        yield element("circle", cx=across, cy=down, r=5, fill=colour, class_=f"dot {kind}")


def _numbers(
    points: Sequence[Priced],
    best: Sequence[Priced],
    x: Callable[[float], float],
    y: Callable[[float], float],
) -> Iterator[str]:
    """Each dot's number, where a narrow picture has room for it."""
    taken = [(x(point.cost) * _NARROW, y(point.scored.value)) for point in points]
    for number, point in enumerate(points, 1):
        down = y(point.scored.value)
        dx, dy, anchor = _place(x(point.cost) * _NARROW, down, taken)
        weight = "bold" if point in best else "normal"
        place = {"x": share(x(point.cost)), "dx": dx, "y": down + dy, "text_anchor": anchor}
        yield words(str(number), **place, font_weight=weight)


def _place(x: float, y: float, taken: list[tuple[float, float]]) -> tuple[int, int, str]:
    """The first place for a number that is not upon another dot or number."""
    shift = {"start": 5, "middle": 0, "end": -5}
    found = _PLACES[0]
    for dx, dy, anchor in _PLACES:
        middle = (x + dx + shift[anchor], y + dy - 4)
        if all(abs(middle[0] - a) > 10 or abs(middle[1] - b) > 11 for a, b in taken):
            found = (dx, dy, anchor)
            break
    taken.append((x + found[0] + shift[found[2]], y + found[1] - 4))
    return found


def _legend(number: int, point: Priced, *, strong: bool, y: int) -> list[str]:
    weight = "bold" if strong else "normal"
    told = f"{_short(point.cost)} · {point.scored.value:.3f}"
    return [
        words(f"{number}  {cut(point.scored.name, _LONGEST)}", x=0, y=y, font_weight=weight),
        words(told, x="100%", y=y, text_anchor="end", font_weight=weight),
    ]


def _short(value: float) -> str:
    """A number in three digits, such as 9.77M."""
    for unit, name in _UNITS:
        if abs(value) >= unit * 0.9995:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"
