"""A contest's figures as SVG: dots with their intervals, and scores by training rows.

Plain shapes and texts: no script, no font of its own, nothing from elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from cuecard.types import Interval

_LEFT, _WIDTH, _RIGHT, _ROW, _TOP, _BOTTOM = 230, 420, 70, 26, 34, 40
_CURVE_HEIGHT = 260
_TICKS = 5
# Of Okabe and Ito (2008), which people who do not see red or green tell apart; dashes help, too.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_DASHES = ("", "6 3", "2 3", "8 3 2 3")


@dataclass(frozen=True)
class Dot:
    """A contender's score.

    Attributes:
        name: what the figure calls it.
        at: the training rows.
        marked: whether a line is drawn through it, for the others to be seen against.
    """

    name: str
    score: float
    interval: Interval | None
    at: int = 0
    marked: bool = False

    @property
    def low(self) -> float:
        """The lower end, or the score."""
        return self.score if self.interval is None else self.interval.low

    @property
    def high(self) -> float:
        """The upper end, or the score."""
        return self.score if self.interval is None else self.interval.high


@dataclass(frozen=True)
class _Scale:
    """Values to places; of logarithms where values go over magnitudes."""

    low: float
    high: float
    start: float
    length: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.start + share * self.length

    def ticks(self) -> list[float]:
        step = (self.high - self.low) / _TICKS
        size = 10 ** math.floor(math.log10(step)) if step > 0 else 1.0
        nice = next(size * m for m in (1, 2, 2.5, 5, 10) if size * m >= step)
        first = math.ceil(self.low / nice - 1e-9)
        return [nice * n for n in range(first, math.floor(self.high / nice + 1e-9) + 1)]


def interval_figure(dots: Sequence[Dot], title: str, axis: str) -> str:
    """A dot and its interval for each contender, below each other."""
    height = _TOP + _ROW * len(dots) + _BOTTOM
    scale = _Scale(*_bounds(dots), _LEFT, _WIDTH)
    foot = height - _BOTTOM
    parts = [_tick(scale(tick), foot, f"{tick:g}") for tick in scale.ticks()]
    marked = next((dot for dot in dots if dot.marked), None)
    if marked is not None:
        x = scale(marked.score)
        parts.append(_line(x, _TOP - 6, x, foot, "#777", "4 3"))
    for place, dot in enumerate(dots):
        y = _TOP + _ROW * place + _ROW / 2
        parts += [
            _text(_LEFT - 12, y + 4, dot.name, "end"),
            _line(scale(dot.low), y, scale(dot.high), y, _COLOURS[0], width=2),
            f'<circle cx="{scale(dot.score):.1f}" cy="{y:.1f}" r="4.5" fill="{_COLOURS[0]}"/>',
            _text(_LEFT + _WIDTH + 12, y + 4, f"{dot.score:.3f}"),
        ]
    parts.append(_text(_LEFT + _WIDTH / 2, height - 6, axis, "middle"))
    told = "; ".join(f"{d.name} {d.score:.3f} ({d.low:.3f} to {d.high:.3f})" for d in dots)
    return _svg(height, title, told, parts)


def curve_figure(dots: Sequence[Dot], title: str, axis: str) -> str:
    """Each contender's scores over the training rows, on a scale of logarithms."""
    names = list(dict.fromkeys(dot.name for dot in dots))
    height = _TOP + max(_CURVE_HEIGHT, 18 * len(names)) + _BOTTOM
    foot, rows = height - _BOTTOM, sorted({dot.at for dot in dots})
    left = 60
    across = _Scale(math.log(rows[0]), math.log(rows[-1]), left + 10, _WIDTH - 20)
    low, high = _bounds(dots)
    up = _Scale(low, high, foot, _TOP - foot)
    parts = [_tick(across(math.log(at)), foot, f"{at:,}") for at in rows]
    for tick in up.ticks():
        parts += [
            _line(left, up(tick), left + _WIDTH, up(tick), "#ddd"),
            _text(left - 6, up(tick) + 4, f"{tick:g}", "end"),
        ]
    for number, name in enumerate(names):
        colour = _COLOURS[number % len(_COLOURS)]
        dash = _DASHES[number // len(_COLOURS) % len(_DASHES)]
        own = sorted((dot for dot in dots if dot.name == name), key=lambda dot: dot.at)
        at = [(across(math.log(dot.at)), dot) for dot in own]
        points = " ".join(f"{x:.1f},{up(dot.score):.1f}" for x, dot in at)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2" '
            f'stroke-dasharray="{dash}"/>'
        )
        for x, dot in at:
            parts.append(_line(x, up(dot.low), x, up(dot.high), colour))
            parts.append(f'<circle cx="{x:.1f}" cy="{up(dot.score):.1f}" r="3.5" fill="{colour}"/>')
        y = _TOP + 18 * number
        parts.append(_line(left + _WIDTH + 16, y, left + _WIDTH + 40, y, colour, dash, 2))
        parts.append(_text(left + _WIDTH + 46, y + 4, name))
    parts.append(_text(left + _WIDTH / 2, height - 6, f"{axis}, by training rows", "middle"))
    told = "; ".join(f"{d.name}, {d.at:,} rows: {d.score:.3f}" for d in dots)
    return _svg(height, title, told, parts)


def _bounds(dots: Sequence[Dot]) -> tuple[float, float]:
    low, high = min(dot.low for dot in dots), max(dot.high for dot in dots)
    room = 0.04 * (high - low or 1.0)
    return low - room, high + room


def _svg(height: float, title: str, told: str, parts: Sequence[str]) -> str:
    width = _LEFT + _WIDTH + _RIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'font-family="sans-serif" font-size="13" fill="currentColor">'
        f"<title>{escape(title)}</title><desc>{escape(told)}</desc>{''.join(parts)}</svg>"
    )


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(
    x: float, y: float, to_x: float, to_y: float, colour: str, dash: str = "", width: int = 1
) -> str:
    return (
        f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{colour}" '
        f'stroke-width="{width}" stroke-dasharray="{dash}"/>'
    )


def _tick(x: float, foot: float, text: str) -> str:
    return _line(x, _TOP - 6, x, foot, "#ddd") + _text(x, foot + 16, text, "middle")
