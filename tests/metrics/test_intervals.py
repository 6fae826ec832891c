"""Intervals: known values, their limits, and how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks.coverage import UNEVEN, f1, means, numbers, pairs, proportions
from cuecard.errors import ConfigError
from cuecard.metrics import intervals
from cuecard.metrics.intervals import (
    bootstrap_statistic,
    mcnemar,
    mean_interval,
    paired_interval,
    paired_proportions_interval,
    proportion_interval,
    ratio_interval,
    rows_for_margin,
)

LEAST = 0.93


@pytest.mark.parametrize(
    ("up", "down", "p"),
    [(0, 0, 1.0), (3, 3, 1.0), (0, 5, 0.0625), (2, 10, 0.03857), (10, 2, 0.03857)],
)
def test_mcnemar(up: int, down: int, p: float) -> None:
    assert mcnemar(up, down) == pytest.approx(p, abs=1e-5)
    if up + down:
        assert mcnemar(up, down) == pytest.approx(stats.binomtest(up, up + down).pvalue)


def test_a_proportion_is_wilsons_interval_away_from_the_edges() -> None:
    for right, rows in ((4, 9), (12, 40), (90, 100), (40, 40), (0, 7)):
        wilson = stats.binomtest(right, rows).proportion_ci(method="wilson")
        found = proportion_interval(right, rows)
        assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high), abs=1e-6)


def test_one_to_three_errors_have_the_poisson_limit() -> None:
    for wrong in (1, 2, 3):
        wilson = stats.binomtest(50 - wrong, 50).proportion_ci(method="wilson")
        found = proportion_interval(50 - wrong, 50)
        assert found.low == pytest.approx(wilson.low)
        assert found.high == pytest.approx(1 - stats.chi2.ppf(0.05, 2 * wrong) / 100)
        assert found.high > wilson.high
        assert proportion_interval(wrong, 50).low == pytest.approx(1 - found.high)


def test_all_right_is_not_certain() -> None:
    for rows in (1, 2, 40, 500):
        found = mean_interval([1.0] * rows)
        assert found.high == 1.0 and found.low == pytest.approx(rows / (rows + 1.96**2), abs=1e-3)
    shares = mean_interval([0.7] * 8)
    assert shares.low < 0.6 and shares.high > 0.8
    nothing = paired_interval([1.0] * 40, [1.0] * 40)
    assert nothing.low == pytest.approx(-nothing.high) and nothing.high > 0.05


def test_pairs_of_bonett_and_price() -> None:
    """Their formula worked out by hand: 10 and 4 of 40 rows differ."""
    p, q = 11 / 42, 5 / 42
    half = 1.959964 * np.sqrt((p + q - (p - q) ** 2) / 42)
    found = paired_proportions_interval(10, 4, 40)
    assert (found.low, found.high) == pytest.approx((p - q - half, p - q + half), abs=1e-6)
    first = [1.0] * 10 + [0.0] * 4 + [1.0] * 26
    second = [0.0] * 10 + [1.0] * 4 + [1.0] * 26
    assert paired_interval(first, second) == found


def test_pairs_are_narrower_than_the_parts() -> None:
    rng = np.random.default_rng(3)
    first = (rng.random(300) < 0.8).astype(float)
    second = np.where(rng.random(300) < 0.1, 1 - first, first)
    paired = paired_interval(first, second)
    one, two = mean_interval(first), mean_interval(second)
    assert paired.high - paired.low < 0.7 * np.hypot(one.high - one.low, two.high - two.low)
    values = rng.random(300)
    ours, t = mean_interval(values), stats.t.interval(0.95, 299, values.mean(), stats.sem(values))
    assert (ours.low, ours.high) == pytest.approx(t, abs=0.01)


@pytest.mark.parametrize("rows", [20, 50, 500])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.85, 0.98])
def test_proportions_cover(share: float, rows: int) -> None:
    assert proportions(share, rows) >= LEAST


@pytest.mark.parametrize("rows", [20, 50, 500])
@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.85, 0.75), (0.85, 0.85), (0.98, 0.98)])
def test_paired_proportions_cover(shares: tuple[float, float], rows: int) -> None:
    assert all(pairs(*shares, correlation, rows) >= LEAST for correlation in (0.0, 0.4))


@pytest.mark.parametrize("rows", [20, 50, 500])
def test_f1_of_uneven_labels_covers(rows: int) -> None:
    for right in (0.5, 0.85, 0.98):
        assert f1(UNEVEN, right, rows, trials=300, draws=300) >= LEAST
    assert f1((0.6, 0.2, 0.1, 0.05, 0.05), 0.9, rows, other=0.9, trials=200, draws=300) >= LEAST
    assert f1((0.4, 0.1), 0.9, rows, micro=True, trials=200, draws=300) >= LEAST


@pytest.mark.parametrize("rows", [20, 50, 500])
def test_means_and_numbers_cover(rows: int) -> None:
    for kind in ("even", "edge", "paired"):
        assert means(kind, rows, trials=500) >= LEAST
    for name in ("mae", "r2", "pearson"):
        assert numbers(name, rows, trials=500) >= LEAST - 0.01
    assert numbers("r2", rows, paired=True, trials=300) >= LEAST


def test_rows_for_a_margin_are_the_fewest_that_can_pass() -> None:
    for margin in (0.3, 0.1, 0.05, 0.02):
        rows = rows_for_margin(margin)
        assert rows is not None
        assert paired_proportions_interval(0, 0, rows).high <= margin
        assert paired_proportions_interval(0, 0, rows - 1).high > margin
    assert rows_for_margin(0.02) == 137
    assert rows_for_margin(0.0) is None


def test_the_bootstrap_agrees_with_scipy_in_any_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random(300)

    def ours(seed: int) -> tuple[float, float]:
        found = bootstrap_statistic(300, lambda rows: np.asarray(values[rows].mean(1)), seed)
        return found.low, found.high

    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(1)
    ).confidence_interval
    whole = ours(7)
    assert whole == pytest.approx((theirs.low, theirs.high), abs=0.005)
    assert ours(8) != whole
    monkeypatch.setattr(intervals, "_CHUNK", 1000)
    assert ours(7) == whole


def test_levels_are_nested() -> None:
    wide, narrow = proportion_interval(30, 40, level=0.99), proportion_interval(30, 40, level=0.5)
    assert wide.low < narrow.low < 0.75 < narrow.high < wide.high


@pytest.mark.parametrize(
    ("values", "level"),
    [
        ([], 0.95),
        ([1.0, float("nan")], 0.95),
        ([[1.0, 0.0]], 0.95),
        ([0.5, 1.5], 0.95),
        ([0.5, -0.5], 0.95),
        ([1.0, 0.0], 95.0),
    ],
)
def test_refusals(values: list[float], level: float) -> None:
    with pytest.raises(ConfigError):
        mean_interval(values, level=level)


def test_counts_and_lengths_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="same rows"):
        paired_interval([1.0, 0.0], [1.0, 0.0, 1.0])
    with pytest.raises(ConfigError, match="at most as many successes"):
        proportion_interval(3, 2)
    with pytest.raises(ConfigError, match="at most as many that differ"):
        paired_proportions_interval(2, 2, 3)
    with pytest.raises(ConfigError, match="two rows"):
        bootstrap_statistic(1, lambda rows: np.zeros(len(rows)), 0)


def test_a_ratio_of_rows_alike_is_a_mean() -> None:
    shares = [0.0, 0.25, 1.0, 0.5, 0.75, 1.0]
    assert ratio_interval([4 * share for share in shares], [4] * 6) == mean_interval(shares)
    assert ratio_interval([3, 3], [3, 3]) == proportion_interval(2, 2)


def test_a_ratio_holds_the_truth_though_rows_are_unlike() -> None:
    """Long rows are right more often, and tokens of one row are right together."""
    rng = np.random.default_rng(0)
    sizes = np.array([1, 2, 4, 12])
    chances = np.array([0.5, 0.7, 0.9, 0.97])
    truth = float((sizes * chances).sum() / sizes.sum())
    held = 0
    for _ in range(400):
        kinds = rng.integers(0, 4, 40)
        skill = np.where(rng.random(40) < 0.5, 1.0, 2 * chances[kinds] - 1)
        right = rng.binomial(sizes[kinds], skill)
        found = ratio_interval(right, sizes[kinds])
        assert found.low <= right.sum() / sizes[kinds].sum() <= found.high
        held += found.low <= truth <= found.high
    assert held / 400 >= LEAST
    assert ratio_interval([1, 2, 3], [1, 2, 3]).low < 1 == ratio_interval([1, 2], [1, 2]).high


@pytest.mark.parametrize(("parts", "wholes"), [([1], [1, 2]), ([0, 1], [0, 1]), ([2], [1])])
def test_what_is_no_ratio(parts: list[int], wholes: list[int]) -> None:
    with pytest.raises(ConfigError):
        ratio_interval(parts, wholes)
