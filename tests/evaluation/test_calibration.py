"""Numbers per label, fitted on labelled rows."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

from cuecard.errors import ConfigError
from cuecard.evaluation.calibration import cross_fitted, fitted_prior
from cuecard.tasks.predictions import calibrate
from cuecard.types import Prediction

LABELS = ("a", "b", "c")


def drawn(count: int, lean: tuple[float, ...]) -> tuple[list[Prediction], list[str]]:
    """Labels drawn from true scores; what is predicted leans by `lean`."""
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, (count, len(LABELS)))
    share = np.exp(true) / np.exp(true).sum(1, keepdims=True)
    gold = [LABELS[rng.choice(len(LABELS), p=row)] for row in share]
    rows = (true + np.asarray(lean)).tolist()
    scores = [dict(zip(LABELS, row, strict=True)) for row in rows]
    return [Prediction(i, "a", given, {}) for i, given in enumerate(scores)], gold


def loss(prior: NDArray[np.float64], predictions: list[Prediction], gold: list[str]) -> float:
    scores = np.asarray([list(p.scores.values()) for p in predictions]) - prior
    logs = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
    right = logs[np.arange(len(gold)), [LABELS.index(label) for label in gold]]
    return float(-right.sum() + (prior**2).sum() / (2 * 0.25))


@pytest.mark.parametrize("count", [3, 40, 3000])
def test_it_is_the_most_likely_one(count: int) -> None:
    predictions, gold = drawn(count, (1.0, -0.5, 0.0))
    found = np.asarray(list(fitted_prior(predictions, gold).values()))
    best = minimize(loss, np.zeros(3), args=(predictions, gold), tol=1e-12).x
    np.testing.assert_allclose(found, best, atol=1e-4)


def test_many_rows_take_a_leaning_out() -> None:
    predictions, gold = drawn(3000, (1.0, -0.5, 0.0))
    prior = fitted_prior(predictions, gold)
    assert prior["a"] - prior["b"] == pytest.approx(1.5, abs=0.15)
    plain = sum(
        p.scores[g] == max(p.scores.values()) for p, g in zip(predictions, gold, strict=True)
    )
    after = sum(p.answer == g for p, g in zip(calibrate(predictions, prior), gold, strict=True))
    assert after > plain


def test_few_rows_move_little() -> None:
    predictions, gold = drawn(3, (5.0, 0.0, 0.0))
    assert max(map(abs, fitted_prior(predictions, gold).values())) < 1


@pytest.mark.parametrize("labels", [2, 3, 10, 50])
@pytest.mark.parametrize("lean", [0.0, 4.0, 7.0, 8.0, 20.0, 50.0])
def test_it_converges_however_far_labels_lean(lean: float, labels: int) -> None:
    """The objective is convex: where its slope is 0 it is least."""
    rng = np.random.default_rng(labels)
    names = [f"label {i}" for i in range(labels)]
    gold = rng.integers(0, labels, 200)
    scores = rng.normal(0, 1.5, (200, labels))
    scores[np.arange(200), gold] += 3.0
    scores[:, 0] += lean
    rows = [dict(zip(names, row, strict=True)) for row in scores.tolist()]
    predictions = [Prediction(i, names[0], row, {}) for i, row in enumerate(rows)]
    prior = np.asarray(list(fitted_prior(predictions, [names[i] for i in gold]).values()))
    share = np.exp(scores - prior - np.logaddexp.reduce(scores - prior, axis=1, keepdims=True))
    slope = (np.eye(labels)[gold] - share).sum(0) + prior.clip(-1, 1) / 0.25
    # The numbers are kept to six decimals.
    assert np.abs(slope).max() < 1e-3
    # As good as the shift that would be right, whatever the lean; 200 rows of 50 labels fit better.
    scores -= prior
    after = np.mean(scores.argmax(1) == gold)
    scores += prior
    scores[:, 0] -= lean
    assert after >= np.mean(scores.argmax(1) == gold) - 0.02


def test_texts_have_none() -> None:
    with pytest.raises(ConfigError, match="needs scored labels"):
        fitted_prior([Prediction(0, "some text", {}, {})], ["some text"])


def test_a_row_is_no_part_of_the_fit_that_it_is_scored_with() -> None:
    predictions, gold = drawn(23, (1.0, -0.5, 0.0))
    found = cross_fitted(predictions, gold)
    for i, prediction in enumerate(found):
        others = [j for j in range(23) if j % 5 != i % 5]
        prior = fitted_prior([predictions[j] for j in others], [gold[j] for j in others])
        assert prediction == calibrate(predictions, prior)[i]
    (one, two), (a, b) = predictions[:2], gold[:2]
    assert cross_fitted([one, two], [a, b])[0].scores == {
        label: pytest.approx(one.scores[label] - value)
        for label, value in fitted_prior([two], [b]).items()
    }
    with pytest.raises(ConfigError, match="needs scored labels"):
        cross_fitted([one], [a])
