import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from cuecard.errors import ConfigError
from cuecard.evaluation import intervals
from cuecard.evaluation.intervals import bootstrap, bootstrap_statistic, paired_bootstrap
from cuecard.evaluation.metrics import macro_f1_statistic


@pytest.fixture
def hits():
    return (np.random.default_rng(0).random(300) < 0.8).astype(float)


def test_mean_agrees_with_scipy(hits):
    ours = bootstrap(hits, seed=0)
    theirs = stats.bootstrap(
        (hits,), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.005)
    assert ours.high == pytest.approx(theirs.high, abs=0.005)


def test_pairs_agree_with_scipy_and_are_narrower_than_unpaired(hits):
    rng = np.random.default_rng(3)
    other = np.where(rng.random(300) < 0.1, 1 - hits, hits)

    def difference(a, b, axis):
        return np.mean(a, axis=axis) - np.mean(b, axis=axis)

    ours = paired_bootstrap(hits, other, seed=0)
    theirs = stats.bootstrap(
        (hits, other), difference, paired=True, method="percentile", n_resamples=10_000, rng=rng
    ).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.005)
    assert ours.high == pytest.approx(theirs.high, abs=0.005)
    one, two = bootstrap(hits, seed=0), bootstrap(other, seed=0)
    assert ours.high - ours.low < 0.7 * np.hypot(one.high - one.low, two.high - two.low)


def test_macro_f1_agrees_with_scipy_and_scikit_learn():
    rng = np.random.default_rng(4)
    gold = rng.choice(["a", "b"], 80)
    answers = np.where(rng.random(80) < 0.7, gold, "a")
    ours = bootstrap_statistic(
        80, macro_f1_statistic(gold.tolist(), answers.tolist(), ("a", "b")), 0
    )
    draws = [
        f1_score(gold[r], answers[r], average="macro", zero_division=0.0)
        for r in rng.integers(0, 80, size=(1500, 80))
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    assert ours.low == pytest.approx(low, abs=0.02)
    assert ours.high == pytest.approx(high, abs=0.02)


def test_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(5)
    inside = 0
    for seed in range(200):
        interval = bootstrap((rng.random(100) < 0.7).astype(float), seed, resamples=500)
        inside += interval.low <= 0.7 <= interval.high
    assert 0.88 <= inside / 200 <= 0.99


def test_a_seed_gives_the_same_interval_in_any_chunks(hits, monkeypatch):
    values = hits * np.random.default_rng(6).random(300)
    whole = bootstrap(values, seed=7)
    assert bootstrap(values, seed=7) == whole
    assert bootstrap(values, seed=8) != whole
    monkeypatch.setattr(intervals, "_CHUNK", 1000)
    assert bootstrap(values, seed=7) == whole


def test_levels_are_nested(hits):
    wide, narrow = bootstrap(hits, seed=0, level=0.99), bootstrap(hits, seed=0, level=0.5)
    assert wide.low < narrow.low < hits.mean() < narrow.high < wide.high


def test_constant_values_give_a_point():
    interval = bootstrap([1.0] * 10, seed=0)
    assert (interval.low, interval.high) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("values", "options"),
    [
        ([], {}),
        ([1.0], {}),
        ([1.0, float("nan")], {}),
        ([[1.0, 2.0]], {}),
        ([1.0, 0.0], {"resamples": 0}),
        ([1.0, 0.0], {"level": 95.0}),
    ],
)
def test_refusals(values, options):
    with pytest.raises(ConfigError):
        bootstrap(values, seed=0, **options)


def test_pairs_of_different_lengths_are_refused():
    with pytest.raises(ConfigError, match="same rows"):
        paired_bootstrap([1.0, 0.0], [1.0, 0.0, 1.0], seed=0)
