"""One of a task's labels: what the engine is asked, and what its scores say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from cuecard.engine.protocol import Engine, Scoring
from cuecard.serving.api.inputs import check_positions
from cuecard.serving.models.catalog import ServedPrompt
from cuecard.tasks.predictions import word_predictions
from cuecard.types import Encoded, Prediction


def score_labels(served: ServedPrompt, row: Encoded, engine: Engine) -> Scoring:
    """The engine's request for the labels' scores.

    Raises:
        APIError: the row is too long for the backbone.
    """
    if served.spec.mode == "head":
        check_positions(engine, served, row, 0)
        return Scoring(served.held, row, head=served.prompt.head())
    words = served.spec.label_words(engine.tokenizer)
    check_positions(engine, served, row, words.longest)
    return Scoring(served.held, row, words.asked)


def prediction_of(served: ServedPrompt, engine: Engine, scores: Sequence[float]) -> Prediction:
    """Labels with probabilities from the engine's scores, calibrated by the saved prior."""
    spec, prior = served.spec, served.prompt.manifest.prior
    if spec.mode == "head":
        return spec.task_kind.answers(spec, np.asarray([scores], dtype=np.float64), prior)[0]
    return word_predictions(
        spec.label_words(engine.tokenizer),
        torch.tensor([scores], dtype=torch.float64),
        spec.labels,
        normalize=spec.normalize,
        prior=prior,
    )[0]
