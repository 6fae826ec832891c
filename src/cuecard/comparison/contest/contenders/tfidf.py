"""TF-IDF of words and characters with logistic or ridge regression."""

from __future__ import annotations

import time

from cuecard.comparison.contest.contender import Contest, Prepared, WithoutSteps
from cuecard.evaluation.baselines.text_models import Fitted, fit_tfidf


class Tfidf(WithoutSteps):
    """A linear model of the rows' words: no backbone at all."""

    title = "TF-IDF + regression"

    def prepare(self, contest: Contest) -> Prepared:
        """Fit it; the penalty's strength is chosen on validation rows."""
        task, began = contest.task, time.perf_counter()
        found = fit_tfidf(task.spec, task.train, task.validation, task.test)
        return as_prepared(found, time.perf_counter() - began)


def as_prepared(found: Fitted, seconds: float, shared_bytes: int = 0) -> Prepared:
    """A linear model's answers to the test rows.

    Args:
        shared_bytes: of the encoder whose vectors it reads.
    """
    return Prepared(
        score=found.score,
        parameters=found.weights,
        nbytes=found.nbytes,
        cpu_seconds=found.cpu_seconds,
        seconds=seconds,
        shared_bytes=shared_bytes,
        predictions=found.predictions,
        facts={"features": found.features, "strength": found.strength},
    )
