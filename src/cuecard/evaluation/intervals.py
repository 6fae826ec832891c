"""Percentile bootstrap intervals (Efron 1979) over test rows, paired for differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cuecard.errors import ConfigError
from cuecard.types import Interval

RESAMPLES = 10_000
LEVEL = 0.95

# Row numbers drawn at a time: 32 MiB of int64, however many rows and resamples there are.
_CHUNK = 4_194_304


def bootstrap(
    values: Sequence[float] | NDArray[Any],
    seed: int,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """The interval of the mean of `values` [n].

    Raises:
        ConfigError: fewer than two values, a value that is not finite, a level outside (0, 1).
    """
    numbers = _as_numbers(values)
    return bootstrap_statistic(
        len(numbers),
        lambda rows: np.asarray(numbers[rows].mean(1), dtype=np.float64),
        seed,
        resamples=resamples,
        level=level,
    )


def paired_bootstrap(
    first: Sequence[float] | NDArray[Any],
    second: Sequence[float] | NDArray[Any],
    seed: int,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """The interval of mean(first) - mean(second), both [n] over the same rows in the same order.

    Rows are drawn together, so what is hard in a row for both does not widen the interval.

    Raises:
        ConfigError: as `bootstrap`, or lists of different lengths.
    """
    a, b = _as_numbers(first), _as_numbers(second)
    if len(a) != len(b):
        raise ConfigError(
            "a paired comparison needs the same rows on both sides",
            got=f"{len(a)} and {len(b)} rows",
            expected="equal numbers",
        )
    return bootstrap(a - b, seed, resamples=resamples, level=level)


def bootstrap_statistic(
    rows: int,
    statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    seed: int,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """The interval of any statistic of resampled rows.

    Args:
        rows: how many rows there are, n.
        statistic: row numbers [R, n] -> values [R].
        seed: the only source of randomness.

    Raises:
        ConfigError: fewer than two rows, fewer than one resample, a level outside (0, 1).
    """
    _check(rows, resamples, level)
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // rows)
    parts = [
        statistic(rng.integers(0, rows, size=(min(step, resamples - start), rows)))
        for start in range(0, resamples, step)
    ]
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(np.concatenate(parts), [tail, 1.0 - tail])
    return Interval(float(low), float(high))


def _as_numbers(values: Sequence[float] | NDArray[Any]) -> NDArray[np.float64]:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not np.isfinite(numbers).all():
        raise ConfigError(
            "an interval needs a flat list of finite numbers",
            got=f"shape {numbers.shape}, {int((~np.isfinite(numbers)).sum())} not finite",
            expected="shape (n,), all finite",
        )
    return numbers


def _check(rows: int, resamples: int, level: float) -> None:
    if rows < 2:
        raise ConfigError(
            "an interval needs at least two rows", got=f"{rows}", expected="2 or more"
        )
    if resamples < 1:
        raise ConfigError("an interval needs resamples", got=f"{resamples}", expected="1 or more")
    if not 0.0 < level < 1.0:
        raise ConfigError(
            "an interval's level is a share", got=f"{level}", expected="between 0 and 1"
        )
