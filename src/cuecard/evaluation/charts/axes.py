"""Axes of charts: from where to where, and what is written beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from cuecard.evaluation.charts.svg import FAINT, element, share, words

_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5)
_MOST_TICKS = 6


def axis_of(values: Iterable[float]) -> tuple[float, float, float]:
    """From where to where, and how far from tick to tick, so that all values are on it."""
    ends = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(ends), max(ends)
    span = max(high - low, 0.02)
    wide = [10.0**power * step for power in range(8) for step in (1.0, 2.0, 5.0)]
    step = next(step for step in (*_STEPS, *wide) if span / step < _MOST_TICKS - 1)
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return first * step, last * step, step


def score_lines(
    axis: tuple[float, float, float], y: Callable[[float], float], left: float, right: float
) -> list[str]:
    """A line across for each tick of an axis that goes up, with its number to the left.

    Args:
        axis: as `axis_of` returns it.
        y: where a score is.
        left, right: from where to where the lines go, as shares of the width.
    """
    low, high, step = axis
    parts = []
    for number in range(round((high - low) / step) + 1):
        value = low + number * step
        at = y(value)
        ends = {"x1": share(left), "x2": share(right), "y1": at, "y2": at}
        parts.append(element("line", **ends, stroke=FAINT, class_="grid"))
        parts.append(words(f"{value:.2f}", x=share(left - 0.01), y=at + 4, text_anchor="end"))
    return parts
