"""Intervals of means over sets, seeds and test rows at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.methods_score import Right
from cuecard.types import Interval

_RESAMPLES = 4000


def mean_over_sets(sets: Sequence[Right]) -> float:
    """The mean of the sets' means."""
    return float(np.mean([values.mean() for values in sets]))


def sets_interval(sets: Sequence[Right]) -> Interval:
    """The 95% bootstrap interval of the mean of sets: seeds and rows of each are drawn again.

    Args:
        sets: per set [S, n] what the model of a seed gets on a row, or by how much it is better
            there than another with the same seed.
    """
    rng = np.random.default_rng(0)
    total = np.zeros(_RESAMPLES)
    for values in sets:
        seeds, rows = (
            rng.multinomial(count, np.full(count, 1 / count), _RESAMPLES) / count
            for count in values.shape
        )
        total += ((seeds @ values) * rows).sum(1)
    low, high = np.quantile(total / len(sets), (0.025, 0.975))
    return Interval(float(low), float(high))
