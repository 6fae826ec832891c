"""What any advice could reach on these measurements: by chance, and if it knew all true scores."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import combinations
from statistics import fmean

from cuecard.evaluation.measured.measurements import Measurement
from cuecard.evaluation.measured.nearest_tasks import is_hit

DRAWS = 400
# Of two ways' answers to one row, how often one alone is right; their errors are those of the same
# rows. What it was is not kept in the results.
ANSWERED_OTHERWISE = 1 / 7


def by_chance(known: Sequence[Measurement], count: int) -> float:
    """How many hits as many ways have that are drawn from those measured, on average."""
    found = 0.0
    for each in known:
        draws = list(combinations(each.scores, min(count, len(each.scores))))
        found += fmean(any(is_hit(each.behind(way)) for way in ways) for ways in draws)
    return found


def by_truth(known: Sequence[Measurement], *, same_rows: bool) -> float:
    """How many hits advice has that knows every way's true score, where these are those measured.

    Each is measured anew on as many test rows, by the normal approximation, and the truly best one
    is compared with the best one of that measurement.

    Args:
        same_rows: whether ways err on the same rows, see ANSWERED_OTHERWISE; else on their own.
    """
    draw, hits = random.Random(0), 0
    for _ in range(DRAWS):
        for each in known:
            truly = max(each.scores, key=lambda way: each.scores[way])
            again = {
                way: draw.gauss(score, _error(each, score, same_rows=same_rows))
                for way, score in each.scores.items()
            }
            hits += is_hit(max(again.values()) - again[truly])
    return hits / DRAWS


def _error(each: Measurement, score: float, *, same_rows: bool) -> float:
    variance = ANSWERED_OTHERWISE / 2 if same_rows else score * (1 - score)
    return math.sqrt(variance / each.test_rows)
