"""Shares and counts as bars, and how sure answers were beside how often they were right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cuecard.evaluation.charts.svg import BLUE, FAINT, GREY, element, picture, share, words

_SIDE, _PAD = 240, 30


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of about the same probability.

    Attributes:
        low, high: the probabilities that it holds.
        rows: how many answers.
        sure: their mean probability.
        right: which share of them is right.
    """

    low: float
    high: float
    rows: int
    sure: float
    right: float


def bar(value: float, said: str) -> str:
    """A share from 0 to 1 as a small bar for a table's cell."""
    parts = [
        element("rect", x=0, y=3, width="100%", height=10, rx=2, fill=FAINT, class_="ground"),
        element("rect", x=0, y=3, width=share(value), height=10, rx=2, fill=BLUE, class_="filled"),
    ]
    return picture(parts, width=96, height=16, title=said, class_="chart small")


def reliability_bins(answers: Sequence[tuple[float, bool]], count: int = 10) -> list[Bin]:
    """Bins of equal width that hold answers.

    Args:
        answers: each one's probability, and whether it is right.
    """
    found = []
    for number in range(count):
        low, high = number / count, (number + 1) / count
        inside = [a for a in answers if low < a[0] <= high or (number == 0 and a[0] == 0)]
        if inside:
            rows = len(inside)
            sure = sum(probability for probability, _ in inside) / rows
            found.append(Bin(low, high, rows, sure, sum(right for _, right in inside) / rows))
    return found


def reliability_chart(bins: Sequence[Bin]) -> str:
    """How often answers are right over how sure they were; on the diagonal both are equal."""
    inner = _SIDE - 2 * _PAD
    most = max((each.rows for each in bins), default=1)

    def x(value: float) -> float:
        return round(_PAD + inner * value, 2)

    def y(value: float) -> float:
        return round(_SIDE - _PAD - inner * value, 2)

    frame = element(
        "rect", x=_PAD, y=_PAD, width=inner, height=inner, fill="none", stroke=FAINT, class_="grid"
    )
    diagonal = element("line", x1=x(0), y1=y(0), x2=x(1), y2=y(1), stroke=GREY, class_="other")
    dots = [
        element(
            "circle",
            element("title", _said(each)),
            cx=x(each.sure),
            cy=y(each.right),
            r=round(3 + 7 * (each.rows / most) ** 0.5, 2),
            fill=BLUE,
            class_="dot strong",
        )
        for each in bins
    ]
    axes = [
        words("how sure", x=_SIDE / 2, y=_SIDE - 4, text_anchor="middle"),
        words("right", x=_PAD, y=_PAD - 10),
        *(words(f"{end}", x=x(end), y=_SIDE - _PAD + 16, text_anchor="middle") for end in (0, 1)),
        words("1", x=_PAD - 6, y=_PAD + 10, text_anchor="end"),
    ]
    said = "; ".join(map(_said, bins))
    return picture(
        [frame, diagonal, *dots, *axes],
        width=_SIDE,
        height=_SIDE,
        title=f"How sure answers are, and how often they are right: {said}",
        class_="chart reliability",
    )


def _said(answers: Bin) -> str:
    return f"{answers.rows:,} answers, {answers.sure:.2f} sure, {answers.right:.2f} right"
