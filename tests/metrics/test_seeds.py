"""The interval of a mean over seeds and rows: its formula, and how often it holds the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.coverage import seeds
from cuecard.errors import ConfigError
from cuecard.metrics.intervals import mean_interval
from cuecard.metrics.seeds import rows_interval, rows_interval_of, seeds_interval
from cuecard.types import Interval


@pytest.mark.parametrize("spread", [0.0, 0.5])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_it_holds_the_mean_over_other_seeds_and_rows(count: int, spread: float) -> None:
    held, alone = seeds(count, spread, 100, trials=400, seed=7)
    assert held >= 0.94
    # What one seed's interval says is about rows alone.
    assert alone <= 0.75 if spread else alone >= 0.92


def test_the_two_parts_are_joined_as_in_the_source() -> None:
    scores, rows = [0.7, 0.8, 0.9], Interval(0.7, 0.88)
    half = float(stats.t.ppf(0.975, 2)) * float(np.std(scores, ddof=1)) / math.sqrt(3)
    found = seeds_interval(scores, rows, least=-1.0, most=2.0)
    assert found.low == pytest.approx(0.8 - math.hypot(0.1, half))
    assert found.high == pytest.approx(0.8 + math.hypot(0.08, half))
    assert seeds_interval(scores, rows) == Interval(found.low, 1.0)


def test_seeds_that_score_alike_leave_the_rows_interval() -> None:
    right = np.asarray([1.0] * 40)
    rows = rows_interval([right, right])
    assert rows == mean_interval(right) and rows.low < 1.0
    assert seeds_interval([1.0, 1.0], rows).low == pytest.approx(rows.low)


def test_rows_of_a_metric_that_is_no_mean() -> None:
    found = rows_interval_of([0.5, 0.7], [Interval(0.4, 0.65), Interval(0.5, 0.75)])
    assert found.low == pytest.approx(0.6 - 0.15) and found.high == pytest.approx(0.6 + 0.1)


def test_one_seed_has_no_interval_over_seeds() -> None:
    with pytest.raises(ConfigError, match="needs several"):
        seeds_interval([0.8], Interval(0.7, 0.9))
