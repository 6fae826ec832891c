"""Confidence intervals over test rows, made to cover with few rows and near 0 and 1.

docs/evaluation.md has their simulated coverage. Sources:

* proportions: Wilson's score interval (Wilson, 1927), modified near the edges as in Brown, Cai and
  DasGupta, "Interval Estimation for a Binomial Proportion", Statistical Science 16(2), 2001,
  section 4.1.1;
* differences of paired proportions: Bonett and Price, "Adjusted Wald Confidence Interval for a
  Difference of Binomial Proportions Based on Paired Data", J. Educ. Behav. Stat. 37(4), 2012,
  recommended by Fagerland, Lydersen and Laake, Statistics in Medicine 33(16), 2014;
* means of shares and their paired differences: the same adjustment, one row at each end of the
  range, with Student's t.

F1 and the metrics of numbers are in `cuecard.metrics.statistics`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from cuecard.errors import ConfigError
from cuecard.lazy import lazy_module, np
from cuecard.types import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

special = lazy_module("scipy.special")

RESAMPLES = 10_000
LEVEL = 0.95

# Row numbers drawn at a time: 32 MiB of int64, however many rows and resamples there are.
_CHUNK = 4_194_304
# So few successes (or failures) have a limit from the Poisson distribution.
_FEW = 3


def proportion_interval(successes: int, rows: int, *, level: float = LEVEL) -> Interval:
    """Wilson's score interval of a proportion, modified for one to three successes or failures.

    There Wilson's limit on the near side covers too rarely; the Poisson limit
    chi2(1 - level, 2 * successes) / (2 * rows) replaces it (Brown, Cai and DasGupta, 2001, who do
    so up to two successes in 50 rows and up to three in more; here it is three everywhere).

    Args:
        successes: how many rows are right.
        rows: of how many, n.

    Raises:
        ConfigError: no rows, more successes than rows, a level outside (0, 1).
    """
    _check_level(level)
    if not 0 <= successes <= rows or rows < 1:
        raise ConfigError(
            "a proportion needs rows, and at most as many successes",
            got=f"{successes} of {rows}",
            expected="0 up to the number of rows, which is 1 or more",
        )
    low = _lower(successes, rows, level)
    return Interval(low, 1.0 - _lower(rows - successes, rows, level))


def _lower(successes: int, rows: int, level: float) -> float:
    if successes == 0:
        return 0.0
    z = _normal(level)
    share = successes / rows
    centre = share + z * z / (2 * rows)
    half = z * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    wilson = (centre - half) / (1 + z * z / rows)
    if successes > _FEW or successes == rows:
        return wilson
    # The chi-square quantile with 2k degrees of freedom is twice the gamma quantile of shape k.
    return min(wilson, float(special.gammaincinv(successes, 1.0 - level)) / rows)


def paired_proportions_interval(
    only_first: int, only_second: int, rows: int, *, level: float = LEVEL
) -> Interval:
    """Bonett and Price's interval of the difference of two proportions over the same rows.

    Wald's interval after one row more of each kind that differs. With
    p = (only_first + 1) / (n + 2) and q = (only_second + 1) / (n + 2) it is
    p - q -+ z * sqrt((p + q - (p - q)^2) / (n + 2)).

    Args:
        only_first: rows that the first has right and the second wrong.
        only_second: rows that the second has right and the first wrong.
        rows: all rows, n.

    Raises:
        ConfigError: no rows, more differing rows than rows, a level outside (0, 1).
    """
    _check_level(level)
    if min(only_first, only_second) < 0 or rows < max(1, only_first + only_second):
        raise ConfigError(
            "a paired comparison needs rows, and at most as many that differ",
            got=f"{only_first} and {only_second} of {rows}",
            expected="numbers from 0 up that sum to at most the rows",
        )
    first, second = (only_first + 1) / (rows + 2), (only_second + 1) / (rows + 2)
    difference = first - second
    spread = math.sqrt((first + second - difference**2) / (rows + 2))
    return _around(difference, _normal(level) * spread, -1.0)


def mcnemar(only_first: int, only_second: int) -> float:
    """The p-value of McNemar's exact test: whether rows that only one side has right are as many.

    Two-sided, by the binomial distribution (McNemar, Psychometrika 12(2), 1947); 1 where no row
    differs.
    """
    least, rows = min(only_first, only_second), only_first + only_second
    return 1.0 if rows == 0 else min(1.0, 2.0 * float(special.bdtr(least, rows, 0.5)))


def mean_interval(values: Sequence[float] | NDArray[Any], *, level: float = LEVEL) -> Interval:
    """The interval of the mean of shares.

    `proportion_interval` where every value is 0 or 1; else Student's t after one more row of 0 and
    one of 1, so that equal values do not give a width of zero.

    Args:
        values: [n], each from 0 to 1.

    Raises:
        ConfigError: no values, values outside [0, 1] or not finite, a level outside (0, 1).
    """
    numbers = _as_numbers(values, 0.0)
    if np.isin(numbers, (0.0, 1.0)).all():
        return proportion_interval(int(numbers.sum()), len(numbers), level=level)
    return _adjusted(numbers, 0.0, level)


def paired_interval(
    first: Sequence[float] | NDArray[Any],
    second: Sequence[float] | NDArray[Any],
    *,
    level: float = LEVEL,
) -> Interval:
    """The interval of mean(first) - mean(second) over the same rows in the same order.

    `paired_proportions_interval` where every value is 0 or 1; else Student's t of the differences
    after one more row of -1 and one of 1. What is hard in a row for both does not widen it.

    Args:
        first, second: [n], each from 0 to 1.

    Raises:
        ConfigError: as `mean_interval`, or lists of different lengths.
    """
    a, b = _as_numbers(first, 0.0), _as_numbers(second, 0.0)
    if len(a) != len(b):
        raise ConfigError(
            "a paired comparison needs the same rows on both sides",
            got=f"{len(a)} and {len(b)} rows",
            expected="equal numbers",
        )
    differences = a - b
    if np.isin(differences, (-1.0, 0.0, 1.0)).all():
        up, down = int((differences > 0).sum()), int((differences < 0).sum())
        return paired_proportions_interval(up, down, len(a), level=level)
    return _adjusted(differences, -1.0, level)


def ratio_interval(
    parts: Sequence[float] | NDArray[Any],
    wholes: Sequence[float] | NDArray[Any],
    *,
    level: float = LEVEL,
) -> Interval:
    """The interval of sum(parts) / sum(wholes), such as right tokens of all tokens, over rows.

    Rows are what is drawn: tokens of one row are alike. `mean_interval` where every row is as long
    as the others; else Student's t of the ratio's residuals (Cochran, Sampling Techniques, 1977,
    section 6.4) after one more row of average length with none right and one with all.

    Args:
        parts, wholes: [n], each part from 0 to its whole, which is above 0.

    Raises:
        ConfigError: as `mean_interval`, or lists of different lengths.
    """
    sizes = np.asarray(wholes, dtype=np.float64)
    if len(sizes) != len(parts) or not (sizes > 0).all():
        raise ConfigError(
            "a ratio needs a whole above 0 for each part",
            got=f"{len(parts)} parts and {len(sizes)} wholes",
            expected="equal numbers",
        )
    found = np.asarray(parts, dtype=np.float64)
    shares = _as_numbers(found / sizes, 0.0)
    if (sizes == sizes[0]).all():
        return mean_interval(shares, level=level)
    mean = float(sizes.mean())
    wide, whole = np.append(found, [0.0, mean]), np.append(sizes, [mean, mean])
    ratio = float(wide.sum() / whole.sum())
    spread = float((wide - ratio * whole).std(ddof=1)) / (float(whole.mean()) * len(wide) ** 0.5)
    around = _around(ratio, student(len(wide), level) * spread, 0.0)
    plain = float(found.sum() / sizes.sum())
    return Interval(min(around.low, plain), max(around.high, plain))


def rows_for_margin(margin: float, *, level: float = LEVEL) -> int | None:
    """The fewest rows on which a paired interval of equal answers ends at or below a margin.

    No rows do for a margin of 0: None. Answers that differ need more.

    Args:
        margin: a difference of proportions.
    """
    if margin <= 0:
        return None
    # With no row that differs the limit is z * sqrt(2) / (n + 2).
    return max(1, math.ceil(_normal(level) * math.sqrt(2.0) / margin - 2.0 - 1e-9))


def bootstrap_statistic(
    rows: int,
    statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    seed: int,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """The percentile bootstrap interval (Efron, 1979) of any statistic of resampled rows.

    With fewer than some hundred rows, or near a metric's limits, it covers too rarely.

    Args:
        rows: how many rows there are, n.
        statistic: row numbers [R, n] -> values [R].
        seed: the only source of randomness.

    Raises:
        ConfigError: fewer than two rows, fewer than one resample, a level outside (0, 1).
    """
    _check_level(level)
    if rows < 2:
        raise ConfigError("a bootstrap needs at least two rows", got=rows, expected="2 or more")
    if resamples < 1:
        raise ConfigError("a bootstrap needs resamples", got=resamples, expected="1 or more")
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // rows)
    parts = [
        statistic(rng.integers(0, rows, size=(min(step, resamples - start), rows)))
        for start in range(0, resamples, step)
    ]
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(np.concatenate(parts), [tail, 1.0 - tail])
    return Interval(float(low), float(high))


def student(rows: int, level: float = LEVEL) -> float:
    """The two-sided quantile of Student's t for a mean of so many values."""
    return float(special.stdtrit(rows - 1, (1.0 + level) / 2.0))


def _adjusted(numbers: NDArray[np.float64], least: float, level: float) -> Interval:
    """Student's t after a row at each end of [least, 1]; it reaches out to the plain mean."""
    wide = np.concatenate([numbers, [least, 1.0]])
    half = student(len(wide), level) * float(wide.std(ddof=1)) / math.sqrt(len(wide))
    found = _around(float(wide.mean()), half, least)
    plain = float(numbers.mean())
    return Interval(min(found.low, plain), max(found.high, plain))


def _around(centre: float, half: float, least: float) -> Interval:
    return Interval(max(least, centre - half), min(1.0, centre + half))


def _normal(level: float) -> float:
    return float(special.ndtri((1.0 + level) / 2.0))


def _as_numbers(values: Sequence[float] | NDArray[Any], least: float) -> NDArray[np.float64]:
    numbers = np.asarray(values, dtype=np.float64)
    flat = numbers.ndim == 1 and len(numbers) > 0 and bool(np.isfinite(numbers).all())
    if not flat or numbers.min() < least or numbers.max() > 1.0:
        raise ConfigError(
            "an interval needs a flat list of shares",
            got=f"shape {numbers.shape}, {int((~np.isfinite(numbers)).sum())} not finite",
            expected=f"one or more finite numbers from {least:g} to 1",
        )
    return numbers


def _check_level(level: float) -> None:
    if not 0.0 < level < 1.0:
        raise ConfigError(
            "an interval's level is a share", got=f"{level}", expected="between 0 and 1"
        )
