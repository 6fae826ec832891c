"""Scoring a prompt on the validation rows while it is being trained."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cuecard.evaluation.calibration import fitted_prior
from cuecard.evaluation.embedding import nearest, pair_vectors
from cuecard.evaluation.predict import predict
from cuecard.tasks import TaskSpec, ordered_batches
from cuecard.training.config import Select
from cuecard.training.contrast import contrastive_loss
from cuecard.training.loss import batch_loss
from cuecard.types import Backbone, Injection, Record, Slot

_ROWS = 32


@dataclass(frozen=True, slots=True)
class Validation:
    """One look at the validation rows.

    Attributes:
        loss: mean negative log-likelihood of the gold label among the labels, of the target's
            tokens for text-to-text, or of the text that belongs to each among all for embedding.
        accuracy: share of right answers (of texts found first); None for text-to-text.
        commonest: the share of the answer given most often; None for text-to-text.
        prior: label -> what calibration would take off its score; None for text-to-text.
    """

    loss: float
    accuracy: float | None = None
    commonest: float | None = None
    prior: dict[str, float] | None = None

    def score(self, select: Select) -> tuple[float, ...]:
        """What selection compares, larger is better; the other one decides between equals."""
        if self.accuracy is None:
            return (-self.loss,)
        by_loss = (-self.loss, self.accuracy)
        return by_loss if select == "loss" else by_loss[::-1]


def validate(
    backbone: Backbone,
    spec: TaskSpec,
    records: Sequence[Record],
    injection: Injection,
    slot: Slot,
) -> Validation:
    """Score an injection on labelled rows, as it is: without calibration."""
    if spec.kind == "text-to-text":
        return Validation(loss=_token_loss(backbone, spec, records, injection, slot))
    if spec.kind == "embedding":
        return _of_pairs(backbone, spec, records, injection, slot)
    predictions = predict(backbone, spec, records, injection, slot=slot, batch_rows=_ROWS)
    gold = [record.target or "" for record in records]
    pairs = list(zip(predictions, gold, strict=True))
    nll = [-math.log(max(p.probabilities[label], 1e-12)) for p, label in pairs]
    answers = Counter(p.answer for p in predictions)
    return Validation(
        loss=math.fsum(nll) / len(nll),
        accuracy=sum(p.answer == label for p, label in pairs) / len(pairs),
        commonest=answers.most_common(1)[0][1] / len(pairs),
        prior=fitted_prior(predictions, gold),
    )


def _of_pairs(
    backbone: Backbone,
    spec: TaskSpec,
    records: Sequence[Record],
    injection: Injection,
    slot: Slot,
) -> Validation:
    gold = [record.target or "" for record in records]
    pairs = pair_vectors(backbone, spec, records, injection, slot=slot, batch_rows=_ROWS)
    found = [p.answer == text for p, text in zip(nearest(records, *pairs), gold, strict=True)]
    loss = contrastive_loss(*pairs, gold)
    return Validation(loss=float(loss.double().mean()), accuracy=sum(found) / len(found))


def _token_loss(
    backbone: Backbone,
    spec: TaskSpec,
    records: Sequence[Record],
    injection: Injection,
    slot: Slot,
) -> float:
    rows = [spec.encode(record, backbone.tokenizer, slot) for record in records]
    lengths = [len(row.context) + len(row.target) for row in rows]
    total, count = 0.0, 0
    with torch.inference_mode():
        for batch in ordered_batches(lengths, _ROWS):
            chosen = [rows[index] for index in batch]
            loss, targets = batch_loss(backbone, spec, chosen, injection, "tokens")
            total, count = total + float(loss), count + targets
    return total / count
