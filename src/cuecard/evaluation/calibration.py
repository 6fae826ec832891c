"""What to take off labels' scores, learnt from labelled rows.

A prompt that ranks well may still lean to one label: it is trained on other rows than it is used
on. One number per label, fitted where nothing was trained, takes the leaning out (the intercepts of
Platt scaling: Platt, 1999; for many classes Guo et al., 2017, arXiv:1706.04599, section 4.2, with
the slopes left at 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cuecard.lazy import np
from cuecard.tasks.predictions import calibrate, label_scores
from cuecard.types import Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
else:
    Floats = Any

# Of the intercepts before any row is seen, in nats: a handful of rows moves them little.
_SPREAD = 0.5
# From here on the penalty grows linearly (Huber, 1964): a prompt that leans by many nats needs an
# intercept of many nats, and a square would forbid it however many rows ask for it.
_BEND = 2 * _SPREAD
# Keeps a Newton step finite where the penalty has no curvature.
_DAMPING = 1e-3
_DECIMALS = 6
# The Newton decrement is in nats of the whole objective: below this no decimal that is kept moves.
_ENOUGH = 1e-14
_STEPS = 500
# Of the decrease that the slope promises, what a shortened step has to reach (Armijo).
_SHARE = 0.1


def fitted_prior(predictions: Sequence[Prediction], gold: Sequence[str]) -> dict[str, float]:
    """label -> log-prior for `calibrate`, the most likely one given labelled rows.

    Minimises sum_i -log softmax(scores_i - prior)[gold_i] + sum_l penalty(prior_l), which is
    convex, by Newton's method with backtracking (Boyd and Vandenberghe, "Convex Optimization",
    2004, section 9.5.2). The penalty is Huber's (1964): x^2 / (2 * 0.5^2) up to 1 nat, linear from
    there on.

    Args:
        predictions: of a classification, not calibrated yet.
        gold: the right label of each.

    Raises:
        ConfigError: no predictions, or predictions of texts.
    """
    labels, scores = label_scores(predictions)
    wanted = np.asarray([[float(label == right) for label in labels] for right in gold])
    prior = np.zeros(len(labels))
    lost, share = _objective(scores, wanted, prior)
    for _ in range(_STEPS):
        slope = (wanted - share).sum(0) + prior.clip(-_BEND, _BEND) / _SPREAD**2
        curvature = (np.abs(prior) < _BEND) / _SPREAD**2 + _DAMPING
        bend = np.diag(share.sum(0) + curvature) - share.T @ share
        step = np.linalg.solve(bend, slope)
        decrement = float(slope @ step)
        if decrement < _ENOUGH:
            break
        size = 1.0
        while True:
            tried, tried_share = _objective(scores, wanted, prior - size * step)
            if tried <= lost - _SHARE * size * decrement or size < _ENOUGH:
                break
            size /= 2
        prior, lost, share = prior - size * step, tried, tried_share
    return {
        label: round(float(value), _DECIMALS) for label, value in zip(labels, prior, strict=True)
    }


def _objective(scores: Floats, wanted: Floats, prior: Floats) -> tuple[float, Floats]:
    """What is minimised, and the labels' shares [n, L]."""
    shifted = scores - prior
    logs = shifted - np.logaddexp.reduce(shifted, axis=1, keepdims=True)
    size = np.abs(prior)
    penalty = np.where(size <= _BEND, size**2 / 2, _BEND * size - _BEND**2 / 2) / _SPREAD**2
    lost = float(-(wanted * logs).sum() + penalty.sum())
    return lost, np.exp(logs)


def cross_fitted(
    predictions: Sequence[Prediction], gold: Sequence[str], folds: int = 5
) -> list[Prediction]:
    """Every prediction calibrated by a prior that was fitted without it.

    What a fitted prior is worth can be told from these rows themselves, as it cannot where a
    prior was fitted on the rows that it is scored on.

    Args:
        predictions: of a classification, not calibrated yet; row i is in fold i mod `folds`.
        gold: the right label of each.

    Raises:
        ConfigError: fewer than two predictions, or predictions of texts.
    """
    count = len(predictions)
    folds = min(folds, count)
    found: list[Prediction | None] = [None] * count
    for fold in range(folds):
        others = [i for i in range(count) if i % folds != fold]
        prior = fitted_prior([predictions[i] for i in others], [gold[i] for i in others])
        held = range(fold, count, folds)
        read = calibrate([predictions[i] for i in held], prior)
        for i, prediction in zip(held, read, strict=True):
            found[i] = replace(prediction, index=predictions[i].index)
    return [prediction for prediction in found if prediction is not None]
