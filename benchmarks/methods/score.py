"""Intervals over seeds and test rows at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cuecard.metrics.intervals import RESAMPLES, bootstrap_statistic
from cuecard.types import Interval

Right = NDArray[np.float64]
"""[S, n] 1.0 where the answer of a seed's model to a row is right, else 0.0."""


def as_right(answers: Sequence[str]) -> Right:
    """From one string of 0 and 1 per seed."""
    return np.asarray([[float(mark) for mark in row] for row in answers])


def score_interval(right: Right, *, resamples: int = RESAMPLES) -> Interval:
    """Of the mean over seeds and rows, both drawn again."""
    return _interval([right], np.ones(1), resamples)


def gain_interval(better: Right, worse: Right, *, resamples: int = RESAMPLES) -> Interval:
    """Of the difference of two means: rows are drawn together, each side's seeds apart."""
    return _interval([better, worse], np.asarray([1.0, -1.0]), resamples)


def _interval(sides: Sequence[Right], signs: Right, resamples: int) -> Interval:
    rng = np.random.default_rng(0)

    def statistic(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        total = np.zeros(len(rows))
        for side, sign in zip(sides, signs, strict=True):
            seeds = rng.integers(0, len(side), (len(rows), len(side)))
            drawn = side[:, rows].mean(2)  # [S, R]
            total += sign * np.take_along_axis(drawn.T, seeds, 1).mean(1)
        return total

    return bootstrap_statistic(sides[0].shape[1], statistic, 0, resamples=resamples)
