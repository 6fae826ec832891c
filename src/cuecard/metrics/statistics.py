"""Metrics that are no means over rows, F1 and those of numbers, with their intervals.

F1's interval is a Bayesian bootstrap (Rubin, "The Bayesian Bootstrap", Annals of Statistics 9(1),
1981): every row gets a weight drawn from Gamma(1). Half a row per label is added, wrong for the
lower limit and right for the upper one: the halves of Jeffreys' interval (Brown, Cai and DasGupta,
2001, section 3), each on the side that widens. So a label without an error in these rows, or
without a row, is not taken for a label without errors.

Errors and correlations get a jackknife interval with Student's t (Miller, "The Jackknife: a
Review", Biometrika 61(1), 1974) on a scale where they have no limits: log for errors and 1 - R2,
Fisher's z for correlations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from cuecard.errors import ConfigError
from cuecard.lazy import lazy_module, np
from cuecard.metrics.intervals import LEVEL, RESAMPLES, student
from cuecard.types import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
else:
    Floats = Any

sparse_arrays = lazy_module("scipy.sparse")

Scale = Literal["plain", "log", "log-rest", "fisher"]

UNKNOWN = Interval(-math.inf, math.inf)
"""The interval of a difference of which too few rows are known to say anything."""

# Weights drawn at a time: 32 MiB of float64.
_CHUNK = 4_194_304
# A jackknife of fewer rows says nothing.
_FEWEST = 5


class Statistic(Protocol):
    """A metric of all rows that is no mean over them."""

    def value(self) -> float:
        """The metric."""
        ...

    def interval(self, seed: int, resamples: int = RESAMPLES) -> Interval | None:
        """Its interval; None where the rows do not give one."""
        ...

    def gain(self, other: Self, seed: int, resamples: int = RESAMPLES) -> Interval:
        """The paired interval of this metric less the other one's, over the same rows."""
        ...


@dataclass(frozen=True, eq=False)
class F1:
    """The mean of labels' F1; of one "label" for a micro-average.

    A label that neither occurs in the truth nor in the answers is not in the value, which follows
    scikit-learn; in the interval every label is.

    Attributes:
        hits: [n, L] right answers by row and label.
        total: [n, L] answers and truths.
        right: what a whole right row adds to a label's hits (twice that to its total).
        wrong: what a whole wrong row adds to a label's total.
    """

    hits: Floats
    total: Floats
    right: float = 1.0
    wrong: float = 1.0

    def value(self) -> float:
        """2 hits / total, averaged over the labels that occur; 0 where none does."""
        hits, total = self.hits.sum(0), self.total.sum(0)
        each = f1_of(hits, total, np.zeros_like(total))
        return float(each.sum() / max(1, int((total > 0).sum())))

    def interval(self, seed: int, resamples: int = RESAMPLES) -> Interval:
        """By the Bayesian bootstrap; it always holds the value."""
        low, high = [], []
        for (sums,), half in _draws([self], seed, resamples):
            low.append(_mean_f1(sums[0], sums[1] + self.wrong * half))
            high.append(_mean_f1(sums[0] + self.right * half, sums[1] + 2 * self.right * half))
        return _limits(low, high, self.value())

    def gain(self, other: Self, seed: int, resamples: int = RESAMPLES) -> Interval:
        """As `interval`: the half row is wrong for one side and right for the other."""
        low, high = [], []
        for (ours, theirs), half in _draws([self, other], seed, resamples):
            poor = [
                _mean_f1(sums[0], sums[1] + side.wrong * half)
                for side, sums in ((self, ours), (other, theirs))
            ]
            good = [
                _mean_f1(sums[0] + side.right * half, sums[1] + 2 * side.right * half)
                for side, sums in ((self, ours), (other, theirs))
            ]
            low.append(poor[0] - good[1])
            high.append(good[0] - poor[1])
        return _limits(low, high, self.value() - other.value())


def _draws(
    sides: list[F1], seed: int, resamples: int
) -> Iterator[tuple[list[tuple[Floats, Floats]], Floats]]:
    """By chunk of draws: each side's weighted (hits, total) [R, L], and the half rows [R, L]."""
    if resamples < 1:
        raise ConfigError("an interval needs draws", got=resamples, expected="1 or more")
    table = np.concatenate([part for side in sides for part in (side.hits, side.total)], 1)
    # Equal rows' weights sum to a Gamma of their number; sorted, whatever the rows' order.
    kinds, counts = np.unique(table, axis=0, return_counts=True)
    sparse = sparse_arrays.csr_array(kinds.T)
    width = sides[0].hits.shape[1]
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // max(len(kinds), table.shape[1]))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        weights = rng.gamma(counts.astype(np.float64), size=(size, len(kinds)))
        half = rng.gamma(0.5, size=(size, width))
        sums = np.asarray(sparse @ weights.T).T
        parts = np.split(sums, 2 * len(sides), axis=1)
        yield list(zip(parts[::2], parts[1::2], strict=True)), half


def _mean_f1(hits: Floats, total: Floats) -> Floats:
    return np.asarray(f1_of(hits, total, np.zeros_like(total)).mean(1))


def _limits(low: list[Floats], high: list[Floats], value: float) -> Interval:
    tail = (1.0 - LEVEL) / 2.0
    least = float(np.quantile(np.concatenate(low), tail))
    most = float(np.quantile(np.concatenate(high), 1.0 - tail))
    return Interval(min(least, value), max(most, value))


@dataclass(frozen=True, eq=False)
class OfSums:
    """A smooth function of sums over rows.

    Attributes:
        table: [n, M] what is summed.
        finish: sums [R, M] -> values [R].
        scale: where the jackknife is made.
    """

    table: Floats
    finish: Callable[[Floats], Floats]
    scale: Scale = "plain"

    def value(self) -> float:
        """The function of all rows' sums."""
        return float(self.finish(self.table.sum(0, keepdims=True))[0])

    def interval(self, seed: int, resamples: int = RESAMPLES) -> Interval | None:
        """By the jackknife, which draws nothing.

        None for fewer than five rows, for rows that do not vary, and at a limit of the metric,
        such as an error of 0.
        """
        count = len(self.table)
        if count < _FEWEST:
            return None
        forth, back = _SCALES[self.scale]
        with np.errstate(all="ignore"):
            sums = self.table.sum(0, keepdims=True)
            plain = float(forth(self.finish(sums))[0])
            others = forth(self.finish(sums - self.table))
            pseudo = count * plain - (count - 1) * others
            half = student(count) * float(pseudo.std(ddof=1)) / math.sqrt(count)
            ends = back(np.asarray([plain - half, plain + half]))
        # What varies by no more than rounding does not vary.
        if not np.isfinite(ends).all() or half <= 1e-9 * max(1.0, abs(plain)):
            return None
        return Interval(float(ends.min()), float(ends.max()))

    def gain(self, other: Self, seed: int, resamples: int = RESAMPLES) -> Interval:
        """By the jackknife of the difference; without limits where it gives none."""
        width = self.table.shape[1]
        both = OfSums(
            np.concatenate([self.table, other.table], 1),
            lambda sums: self.finish(sums[:, :width]) - other.finish(sums[:, width:]),
        )
        return both.interval(seed, resamples) or UNKNOWN


_SCALES: dict[Scale, tuple[Callable[[Floats], Floats], Callable[[Floats], Floats]]] = {
    "plain": (lambda x: x, lambda x: x),
    "log": (lambda x: np.log(x), lambda x: np.exp(x)),
    "log-rest": (lambda x: np.log(1.0 - x), lambda x: 1.0 - np.exp(x)),
    "fisher": (lambda x: np.arctanh(x), lambda x: np.tanh(x)),
}


def f1_of(hits: Floats, said: Floats, true: Floats) -> Floats:
    """2 hits / (said + true); 0 where nothing was said and nothing is true."""
    total = said + true
    return np.asarray(np.divide(2.0 * hits, total, out=np.zeros_like(total), where=total > 0))


def micro_f1(hits: Floats, said: Floats, true: Floats) -> F1:
    """F1 of all labels' counts together; counts [n] or [n, L] per row."""
    columns = [part.reshape(len(part), -1).sum(1, keepdims=True) for part in (hits, said, true)]
    total = columns[1] + columns[2]
    mean = float(total.mean()) / 2 or 1.0
    return F1(columns[0], total, right=mean, wrong=2 * mean)


def macro_f1(hits: Floats, said: Floats, true: Floats) -> F1:
    """The mean of every label's F1; counts [n, L] per row, 0 or 1."""
    return F1(hits, said + true)


def mean_error(errors: Floats) -> OfSums:
    """The mean of errors [n], none below 0."""
    table = np.stack([errors, np.ones_like(errors)], 1)
    return OfSums(table, lambda sums: sums[:, 0] / sums[:, 1], "log")


def rmse(gold: Floats, given: Floats) -> OfSums:
    """The root of the mean squared error."""
    table = np.stack([(gold - given) ** 2, np.ones_like(gold)], 1)
    return OfSums(table, lambda sums: np.sqrt(sums[:, 0] / sums[:, 1]), "log")


def r_squared(gold: Floats, given: Floats) -> OfSums:
    """1 - squared error / squared distance from the rows' mean; 0 where the truth is constant."""
    centred = gold - gold.mean()
    table = np.stack([(gold - given) ** 2, centred**2, centred, np.ones_like(gold)], 1)

    def finish(sums: Floats) -> Floats:
        spread = sums[:, 1] - sums[:, 2] ** 2 / sums[:, 3]
        return np.asarray(_over(spread - sums[:, 0], spread))

    return OfSums(table, finish, "log-rest")


def pearson(gold: Floats, given: Floats) -> OfSums:
    """Pearson's correlation; 0 where either side is constant."""
    a, b = gold - gold.mean(), given - given.mean()
    table = np.stack([a * b, a * a, b * b, a, b, np.ones_like(a)], 1)

    def finish(sums: Floats) -> Floats:
        ab, aa, bb, of_a, of_b, count = sums.T
        squares = (aa - of_a**2 / count) * (bb - of_b**2 / count)
        return _over(ab - of_a * of_b / count, np.sqrt(np.maximum(squares, 0.0)))

    return OfSums(table, finish, "fisher")


def spearman(gold: Floats, given: Floats) -> OfSums:
    """Spearman's: Pearson's of the ranks, equal values sharing their mean."""
    return pearson(ranks(gold), ranks(given))


def ranks(values: Floats) -> Floats:
    """[n] each value's rank from 1 up; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2.0)[place])


def _over(numerator: Floats, denominator: Floats) -> Floats:
    zero = denominator <= 1e-12 * np.maximum(np.abs(numerator), 1.0)
    return np.asarray(np.where(zero, 0.0, numerator / np.where(zero, 1.0, denominator)))
