"""Scores over the number of rows that they were learnt from: a line for each learner."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from cuecard.evaluation.charts.axes import axis_of, score_lines
from cuecard.evaluation.charts.intervals import Scored, score_ends
from cuecard.evaluation.charts.svg import element, picture, share, words

_WIDTH, _HEIGHT, _TOP, _AXIS, _LANE = 640, 260, 12, 30, 20
_LEFT, _RIGHT = 0.09, 0.98
# Of Okabe and Ito (2008), which people who do not see red or green tell apart; dashes help, too.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#777777")
_DASHES = ("0", "6 3", "2 3", "8 3 2 3")


def curve_chart(points: Sequence[tuple[int, Scored]], metric: str) -> str:
    """A line for each name, through its scores at so many rows, on a scale of logarithms.

    Names are below, where a phone has room for them.

    Args:
        points: rows, and the score there; of equal names one line is drawn.
        metric: what the numbers are.
    """
    curves: dict[str, dict[int, Scored]] = {}
    for at, score in points:
        curves.setdefault(score.name, {})[at] = score
    axis = axis_of(score_ends([score for _, score in points]))
    low, high, _ = axis
    rows = sorted({at for at, _ in points})
    span = math.log(rows[-1] / rows[0]) or 1.0

    def x(at: int) -> str:
        return share(_LEFT + 0.02 + (_RIGHT - _LEFT - 0.04) * math.log(at / rows[0]) / span)

    def y(value: float) -> float:
        return round(_TOP + (_HEIGHT - _TOP) * (high - value) / (high - low), 2)

    parts = score_lines(axis, y, _LEFT, _RIGHT)
    parts += [words(f"{at:,}", x=x(at), y=_HEIGHT + 17, text_anchor="middle") for at in rows]
    for number, (name, own) in enumerate(curves.items()):
        look = {
            "stroke": _COLOURS[number % len(_COLOURS)],
            "stroke_dasharray": _DASHES[number // len(_COLOURS) % len(_DASHES)],
            "stroke_width": 2,
        }
        lane = _HEIGHT + _AXIS + _LANE * number + _LANE // 2
        parts += [
            element("line", x1=0, x2=30, y1=lane, y2=lane, **look),
            words(name, x=40, y=lane + 4),
            *_curve(own, x, y, look),
        ]
    return picture(
        parts,
        width=_WIDTH,
        height=_HEIGHT + _AXIS + _LANE * len(curves),
        title=f"{metric} by training rows: {_said(curves)}",
        class_="chart curves",
    )


def _curve(
    own: Mapping[int, Scored],
    x: Callable[[int], str],
    y: Callable[[float], float],
    look: Mapping[str, object],
) -> list[str]:
    """The lines from point to point, and a dot with its interval at each."""
    places = [(x(at), y(own[at].value), own[at]) for at in sorted(own)]
    parts = [
        element("line", x1=a[0], y1=a[1], x2=b[0], y2=b[1], **look) for a, b in pairwise(places)
    ]
    for across, up, score in places:
        if score.interval is not None:
            ends = (y(score.interval.low), y(score.interval.high))
            bar = {"x1": across, "x2": across, "y1": ends[0], "y2": ends[1]}
            parts.append(element("line", **bar, stroke=look["stroke"], class_="interval"))
        parts.append(element("circle", cx=across, cy=up, r=3.5, fill=look["stroke"], class_="dot"))
    return parts


def _said(curves: Mapping[str, Mapping[int, Scored]]) -> str:
    return "; ".join(
        f"{name} {', '.join(f'{own[at].value:.3f} at {at:,}' for at in sorted(own))}"
        for name, own in curves.items()
    )
