"""What to expect of each way by what was measured elsewhere and on the task's own rows together.

However often a way was measured elsewhere, that tells no more of this task than one measurement
elsewhere can differ from another: by the shipped ones of texts with labels with a standard
deviation of nine points. The difference of two scores on n rows, of which one in seven is answered
otherwise, has one of 38 / sqrt(n) points. So 17 rows would count as much as all else; it is 20, as
each way is seen on rows that it was chosen by.

What the best of all ways would score here is not known where not all were measured: it is the best
score seen, or if that is more, what the seen ones would be below it elsewhere, on average.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from cuecard.evaluation.measured.nearest_tasks import PRIOR_BEHIND, WayEstimate

ROWS_AS_ALL_ELSE = 20


@dataclass(frozen=True)
class CombinedEstimate:
    """What to expect of a way.

    Attributes:
        behind: how far below the best, from 0 to 1, by both.
        here: its score on this task's validation rows; None where it was not measured on them.
        elsewhere: by the shipped measurements alone; None where it is in none of them.
    """

    way: str
    behind: float
    here: float | None
    elsewhere: WayEstimate | None


def combined(
    elsewhere: Sequence[WayEstimate], here: Mapping[str, float], rows: int
) -> list[CombinedEstimate]:
    """Of every way that was measured here or elsewhere, the best first.

    Args:
        here: way -> its score on validation rows.
        rows: how many these are.
    """
    shipped = {each.way: each for each in elsewhere}
    usual = {way: each.behind for way, each in shipped.items()}
    best, weight = _best_of_all(usual, here), rows / ROWS_AS_ALL_ELSE
    found = []
    for way in sorted({*shipped, *here}):
        known, score = shipped.get(way), here.get(way)
        behind = usual.get(way, PRIOR_BEHIND)
        if score is not None:
            behind = (behind + weight * (best - score)) / (1 + weight)
        found.append(CombinedEstimate(way, behind, score, known))
    return sorted(found, key=lambda each: (each.behind, each.way))


def _best_of_all(usual: Mapping[str, float], here: Mapping[str, float]) -> float:
    if not here:
        return 0.0
    expected = fmean(score + usual.get(way, PRIOR_BEHIND) for way, score in here.items())
    return max(*here.values(), expected)
