"""Statistics of resampled rows that are functions of sums over rows: F1 of counts, errors, R2."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
Indexes = NDArray[np.int64]
Statistic = Callable[[Indexes], Floats]
"""Row numbers [R, n] of R resamples -> values [R]."""


def of_sums(table: Floats, finish: Callable[[Floats], Floats]) -> Statistic:
    """A function of the sums of a table [n, M] over the rows.

    Args:
        finish: sums [R, M] -> values [R].
    """

    def statistic(rows: Indexes) -> Floats:
        count = len(table)
        shifted = rows + count * np.arange(len(rows), dtype=np.int64)[:, None]
        times = np.bincount(shifted.ravel(), minlength=len(rows) * count)
        return finish(times.reshape(len(rows), count).astype(np.float64) @ table)

    return statistic


def whole(statistic: Statistic, count: int) -> float:
    """The statistic of all rows, each once."""
    return float(statistic(np.arange(count, dtype=np.int64)[None])[0])


def f1_of(hits: Floats, said: Floats, true: Floats) -> Floats:
    """2 hits / (said + true); 0 where nothing was said and nothing is true."""
    total = said + true
    return np.asarray(np.divide(2.0 * hits, total, out=np.zeros_like(total), where=total > 0))


def micro_f1(hits: Floats, said: Floats, true: Floats) -> Statistic:
    """F1 of all labels' counts together; counts [n] or [n, L] per row."""
    columns = [part.reshape(len(part), -1).sum(1) for part in (hits, said, true)]
    return of_sums(np.stack(columns, 1), lambda sums: f1_of(sums[:, 0], sums[:, 1], sums[:, 2]))


def macro_f1(hits: Floats, said: Floats, true: Floats) -> Statistic:
    """The mean of every label's F1; counts [n, L] per row.

    A label that is neither said nor true in a resample does not count there.
    """
    width = hits.shape[1]

    def finish(sums: Floats) -> Floats:
        parts = sums[:, :width], sums[:, width : 2 * width], sums[:, 2 * width :]
        seen = ((parts[1] + parts[2]) > 0).sum(1)
        return np.asarray(f1_of(*parts).sum(1) / np.maximum(seen, 1))

    return of_sums(np.concatenate([hits, said, true], 1), finish)


def rmse(gold: Floats, given: Floats) -> Statistic:
    """The root of the mean squared error."""
    table = np.stack([(gold - given) ** 2, np.ones_like(gold)], 1)
    return of_sums(table, lambda sums: np.sqrt(sums[:, 0] / sums[:, 1]))


def r_squared(gold: Floats, given: Floats) -> Statistic:
    """1 - squared error / squared distance from the rows' mean; 0 where the truth is constant."""
    centred = gold - gold.mean()
    table = np.stack([(gold - given) ** 2, centred**2, centred, np.ones_like(gold)], 1)

    def finish(sums: Floats) -> Floats:
        spread = sums[:, 1] - sums[:, 2] ** 2 / sums[:, 3]
        return np.asarray(_over(spread - sums[:, 0], spread))

    return of_sums(table, finish)


def pearson(gold: Floats, given: Floats) -> Statistic:
    """Pearson's correlation; 0 where either side is constant."""
    return lambda rows: _correlation(gold[rows], given[rows])


def spearman(gold: Floats, given: Floats) -> Statistic:
    """Spearman's: Pearson's of the ranks within each resample, equal values sharing their mean."""
    return lambda rows: _correlation(rankdata(gold[rows], axis=1), rankdata(given[rows], axis=1))


def _correlation(first: Floats, second: Floats) -> Floats:
    a, b = (side - side.mean(1, keepdims=True) for side in (first, second))
    scale = np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return _over((a * b).sum(1), scale)


def _over(numerator: Floats, denominator: Floats) -> Floats:
    zero = denominator <= 1e-12 * np.maximum(np.abs(numerator), 1.0)
    return np.asarray(np.where(zero, 0.0, numerator / np.where(zero, 1.0, denominator)))
