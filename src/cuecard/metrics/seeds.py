"""How a score differs between the seeds of one training, and the interval of its mean.

Every seed's prompt answers the same test rows, so that seeds and rows are crossed. The mean's
interval joins one over rows and one over seeds by the recovery of variance estimates (Zou and
Donner, "Construction of Confidence Limits about Effect Measures", Statistics in Medicine 27(10),
2008): a limit lies as far from the mean as the root of the two squared distances. With Student's t
for each of the two, as here, it holds the mean at least as often as it says where both are normal
(Banerjee, "Approximate Confidence Interval for Linear Functions of Means of k Populations", Sankhya
22, 1960). It errs on the wide side in one more way: that seeds differ in single rows is in both.
docs/evaluation.md has its simulated coverage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cuecard.errors import ConfigError
from cuecard.lazy import np
from cuecard.metrics.intervals import LEVEL, mean_interval, student
from cuecard.types import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray


def seeds_interval(
    scores: Sequence[float],
    rows: Interval,
    *,
    least: float = 0.0,
    most: float = 1.0,
    level: float = LEVEL,
) -> Interval:
    """The interval of the mean score over new seeds and new rows.

    Args:
        scores: each seed's, on the same rows; [K] with K of 2 or more.
        rows: the interval over rows of these seeds' mean, at the same level.
        least, most: the metric's limits.

    Raises:
        ConfigError: fewer than two scores.
    """
    if len(scores) < 2:
        raise ConfigError(
            "an interval over seeds needs several of them", got=len(scores), expected="2 or more"
        )
    mean = float(np.mean(scores))
    half = student(len(scores), level) * float(np.std(scores, ddof=1)) / math.sqrt(len(scores))
    return Interval(
        max(least, mean - math.hypot(mean - rows.low, half)),
        min(most, mean + math.hypot(rows.high - mean, half)),
    )


def rows_interval(values: Sequence[NDArray[Any]], *, level: float = LEVEL) -> Interval:
    """The interval over rows of several seeds' mean, from each one's values [n], each 0 to 1."""
    return mean_interval(np.mean(values, axis=0), level=level)


def rows_interval_of(scores: Sequence[float], intervals: Sequence[Interval]) -> Interval:
    """The same for a metric that is no mean over rows, from each seed's score and interval.

    A mean of seeds varies with the rows no more than they do on average.
    """
    mean = float(np.mean(scores))
    below = float(np.mean([score - one.low for score, one in zip(scores, intervals, strict=True)]))
    above = float(np.mean([one.high - score for score, one in zip(scores, intervals, strict=True)]))
    return Interval(mean - below, mean + above)
