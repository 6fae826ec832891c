"""Scores of labels as predictions, and priors taken off them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from cuecard.errors import ConfigError
from cuecard.lazy import np
from cuecard.tasks.encoding.label_words import LabelWords
from cuecard.types import Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Floats = NDArray[np.float64]
else:
    Floats = Any


def as_predictions(scores: Floats, labels: Sequence[str]) -> list[Prediction]:
    """Scores [n, L] of labels as predictions."""
    shares = np.exp(log_softmax(scores)) if len(scores) else scores
    predictions = []
    for index, (row, share) in enumerate(zip(scores.tolist(), shares.tolist(), strict=True)):
        by_label = dict(zip(labels, row, strict=True))
        answer = max(by_label, key=by_label.__getitem__)  # of equals, the first label
        probabilities = dict(zip(labels, share, strict=True))
        predictions.append(Prediction(index, answer, by_label, probabilities))
    return predictions


def word_predictions(
    words: LabelWords,
    sums: Tensor,
    labels: Sequence[str],
    *,
    normalize: Literal["none", "length"] = "none",
    prior: Mapping[str, float] | None = None,
) -> list[Prediction]:
    """What the log-probabilities of labels' words answer, whatever engine gave them.

    Args:
        sums: [n, A] float64, of the words that `words` asks for.
        normalize: "length" divides a label's score by its number of tokens.
        prior: label -> log-prior to take off its score.

    Raises:
        ConfigError: a prior that does not name exactly the labels.
    """
    scores = words.scores(sums)
    if normalize == "length":
        scores = scores / words.lengths
    raw = as_predictions(scores.numpy(), labels)
    return raw if prior is None else calibrate(raw, prior)


def calibrate(predictions: Sequence[Prediction], prior: Mapping[str, float]) -> list[Prediction]:
    """The same predictions with a log-prior taken off their scores, and answers to match.

    Raises:
        ConfigError: a prior that does not name exactly the predictions' labels.
    """
    if not predictions:
        return []
    labels = tuple(predictions[0].scores)
    if set(labels) != set(prior):
        raise ConfigError(
            "the prior is not for these labels",
            where="prior",
            got=", ".join(sorted(prior)) or "(none)",
            expected=", ".join(sorted(labels)) or "no prior: these are texts",
        )
    scores = np.asarray([[p.scores[label] - prior[label] for label in labels] for p in predictions])
    return as_predictions(scores, labels)


def label_scores(predictions: Sequence[Prediction]) -> tuple[tuple[str, ...], Floats]:
    """The labels, and every prediction's scores [n, L] in their order.

    Raises:
        ConfigError: no predictions, or predictions of texts.
    """
    if not predictions or not predictions[0].scores:
        raise ConfigError(
            "a prior needs scored labels",
            where="prior",
            got=f"{len(predictions)} predictions",
            expected="one or more of a classification",
        )
    labels = tuple(predictions[0].scores)
    return labels, np.asarray([[p.scores[label] for label in labels] for p in predictions])


def log_softmax(scores: Floats) -> Floats:
    """Scores [n, L] as log-probabilities."""
    return np.asarray(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True))
