"""Simple models of what a frozen vision encoder makes of images: what a visual prompt has to beat.

The nearest mean of a class's training images, and a linear probe; see `text_models.fit_vectors`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cuecard.errors import ConfigError
from cuecard.evaluation.baselines.text_models import Fitted
from cuecard.evaluation.heads import read_states
from cuecard.evaluation.predict import BATCH_ROWS
from cuecard.lazy import np
from cuecard.tasks.predictions import as_predictions
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Backbone, Record

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def image_vectors(backbone: Backbone, spec: TaskSpec, records: Sequence[Record]) -> Floats:
    """[n, H] the states that a head reads, without a prompt."""
    rows = spec.encode_rows(records, backbone.tokenizer, "prefix")
    return np.concatenate(read_states(backbone, rows, None, batch_rows=BATCH_ROWS))


def fit_nearest_mean(
    spec: TaskSpec,
    train: tuple[Sequence[Record], Floats],
    test: Floats,
    features: str,
    cpu_seconds: float = 0.0,
) -> Fitted:
    """The class whose training images' mean is the most like an image, by cosine.

    Args:
        train: records and their vectors [n, H].
        test: [m, H].
        features: what the vectors are, in words.
        cpu_seconds: what making them took.

    Raises:
        ConfigError: a kind without labels, or no training rows.
    """
    started = time.process_time() - cpu_seconds
    records, vectors = train
    if not spec.labels or not len(records):
        raise ConfigError("there are no classes to have a mean", got=spec.kind, expected="labels")
    middle = vectors.mean(0)
    gold = np.asarray([int(spec.task_kind.goal(spec, record)[0]) for record in records])
    means = np.full((len(spec.labels), vectors.shape[1]), np.nan)
    for label in np.unique(gold):
        means[label] = (vectors[gold == label] - middle).mean(0)
    scores = _unit(test - middle) @ _unit(means).T
    # A class without a training image is like nothing.
    scores = np.where(np.isnan(scores), -1e3, scores)
    spent = time.process_time() - started
    predictions = as_predictions(scores, spec.labels)
    return Fitted(predictions, 0.0, 0.0, means.size, 4 * means.size, spent, features)


def _unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
