"""What to take off labels' scores, learnt from labelled rows.

A prompt that ranks well may still lean to one label: it is trained on other rows than it is used
on. One number per label, fitted where nothing was trained, takes the leaning out (the intercepts of
Platt scaling: Platt, 1999; for many classes Guo et al., 2017, arXiv:1706.04599, section 4.2, with
the slopes left at 1).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cuecard.evaluation.predict import label_scores
from cuecard.types import Prediction

# Of the intercepts before any row is seen, in nats: a handful of rows moves them little.
_SPREAD = 0.5
_STEPS = 25
_DECIMALS = 6


def fitted_prior(predictions: Sequence[Prediction], gold: Sequence[str]) -> dict[str, float]:
    """label -> log-prior for `calibrate`, the most likely one given labelled rows.

    Minimises sum_i -log softmax(scores_i - prior)[gold_i] + sum_l prior_l^2 / (2 * 0.5^2) by
    Newton's method.

    Args:
        predictions: of a classification, not calibrated yet.
        gold: the right label of each.

    Raises:
        ConfigError: no predictions, or predictions of texts.
    """
    labels, scores = label_scores(predictions)
    wanted = np.asarray([[float(label == right) for label in labels] for right in gold])
    prior = np.zeros(len(labels))
    for _ in range(_STEPS):
        shifted = scores - prior
        share = np.exp(shifted - np.logaddexp.reduce(shifted, axis=1, keepdims=True))
        slope = (wanted - share).sum(0) + prior / _SPREAD**2
        bend = np.diag(share.sum(0)) - share.T @ share + np.eye(len(labels)) / _SPREAD**2
        prior -= np.linalg.solve(bend, slope)
    return {
        label: round(float(value), _DECIMALS) for label, value in zip(labels, prior, strict=True)
    }
