"""Sentence vectors with logistic or ridge regression."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from cuecard.backbones.quantization.weights import weight_bytes
from cuecard.comparison.contest.contender import Contest, Prepared, WithoutSteps
from cuecard.comparison.contest.contenders.tfidf import as_prepared
from cuecard.errors import ConfigError
from cuecard.evaluation.baselines.text_models import fit_vectors
from cuecard.evaluation.baselines.text_vectors import has_text_vectors, text_vectors
from cuecard.tasks.text_features import text_of


class EmbeddingRegression(WithoutSteps):
    """A linear model of what an encoder, or the backbone's middle layer, makes of the rows."""

    title = "sentence vectors + regression"

    def settings(self, contest: Contest) -> Mapping[str, Any]:
        """The encoder."""
        return {"encoder": None if contest.encoder is None else contest.encoder.name}

    def prepare(self, contest: Contest) -> Prepared:
        """Fit it on all training rows; the penalty's strength is chosen on validation rows."""
        task, source = contest.task, contest.encoder or contest.backbone
        if task.spec.task_kind.tower != "text" or not has_text_vectors(source):
            raise ConfigError("there are no vectors of texts", where=source.name)
        cpu, began = time.process_time(), time.perf_counter()
        parts = (task.train, task.validation, task.test)
        rows = [
            (part, text_vectors(source, [text_of(task.spec, record) for record in part]))
            for part in parts
        ]
        features = f"mean states of {source.name}"
        found = fit_vectors(task.spec, rows, features, time.process_time() - cpu)
        return as_prepared(found, time.perf_counter() - began, weight_bytes(source.model))
