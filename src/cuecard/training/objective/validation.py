"""Scoring a prompt on the validation rows while it is being trained."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cuecard.evaluation.calibration import fitted_prior
from cuecard.evaluation.embedding import nearest, pair_vectors
from cuecard.evaluation.heads import head_outputs
from cuecard.evaluation.loglikelihood import OnRows, sharing_front
from cuecard.evaluation.predict import NEGLIGIBLE, predict
from cuecard.lazy import np, torch
from cuecard.tasks import TaskSpec, ordered_batches
from cuecard.tasks.encoding.batching import row_lengths
from cuecard.tasks.predictions import calibrate
from cuecard.training.config import Select
from cuecard.training.objective.loss import batch_loss, count_targets
from cuecard.training.objective.top_tokens import Taught
from cuecard.types import Backbone, Head, Injection, Prediction, Record, Slot

_ROWS = 32


@dataclass(frozen=True, slots=True)
class Validation:
    """Scores on the validation rows.

    Attributes:
        loss: mean negative log-likelihood of the gold label among the labels, of the target's
            tokens for text-to-text (or their divergence from a teacher's), or of the text that
            belongs to each among all for embedding; a head's or masks' own loss.
        accuracy: share of right answers (of texts found first); None where answers are not one of
            a few.
        majority_share: the share of the answer given most often; None with `accuracy`.
        prior: label -> what calibration would take off its score, or its threshold where several
            labels may hold; None without labels.
    """

    loss: float
    accuracy: float | None = None
    majority_share: float | None = None
    prior: dict[str, float] | None = None
    rows: int = 0

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
    head: Head | None = None,
    *,
    calibrated: bool = False,
    brief: bool = False,
    on_rows: OnRows | None = None,
    taught: Taught | None = None,
    soft: Sequence[Sequence[float]] | None = None,
) -> Validation:
    """Score an injection, and the head beside it, on labelled rows.

    Args:
        brief: read each row's own label alone, which says how likely it is and not how likely the
            others are; then there are no answers.
        taught: a teacher's tokens that a text's are compared with instead of the rows' own.
        soft: per row the labels' probabilities that its own label's loss is weighted by; 1 for the
            row's own label by default.
        calibrated: whether the answers are those with the prior taken off, as where the prompt is
            kept with it; the loss is without it in any case.
    """
    if head is not None:
        return _validate_head(backbone, spec, records, injection, slot, head, calibrated)
    if spec.mode == "pixels":
        return Validation(loss=_summed_loss(backbone, spec, records, injection, slot, "masks"))
    if spec.mode == "text" or brief:
        loss = _summed_loss(backbone, spec, records, injection, slot, "tokens", taught)
        return Validation(loss=loss)
    if spec.mode == "vector":
        return _of_pairs(backbone, spec, records, injection, slot)
    predictions = predict(
        backbone,
        spec,
        records,
        injection,
        slot=slot,
        batch_rows=_ROWS,
        negligible=NEGLIGIBLE,
        on_rows=on_rows,
    )
    gold = [*map(spec.label_of, records)]
    pairs = list(zip(predictions, gold, strict=True))
    nll = [-math.log(max(p.probabilities[label], 1e-12)) for p, label in pairs]
    if soft is not None:
        nll = [_cross_entropy(*pair, spec.labels) for pair in zip(soft, predictions, strict=True)]
    loss = math.fsum(nll) / len(nll)
    prior = fitted_prior(predictions, gold) if spec.task_kind.single_label else None
    return _answered(loss, predictions, gold, prior, calibrated)


def _cross_entropy(wanted: Sequence[float], found: Prediction, labels: Sequence[str]) -> float:
    logs = [math.log(max(found.probabilities[label], 1e-12)) for label in labels]
    return -math.fsum(share * log for share, log in zip(wanted, logs, strict=True))


def _answered(
    loss: float,
    predictions: Sequence[Prediction],
    gold: Sequence[str],
    prior: dict[str, float] | None,
    calibrated: bool,
) -> Validation:
    """How many answers are right, with the prior taken off if so asked."""
    if calibrated and prior is not None:
        predictions = calibrate(predictions, prior)
    answers = [prediction.answer for prediction in predictions]
    return Validation(
        loss=loss,
        accuracy=sum(a == label for a, label in zip(answers, gold, strict=True)) / len(gold),
        majority_share=Counter(answers).most_common(1)[0][1] / len(gold),
        prior=prior,
    )


def _validate_head(
    backbone: Backbone,
    spec: TaskSpec,
    records: Sequence[Record],
    injection: Injection,
    slot: Slot,
    head: Head,
    calibrated: bool,
) -> Validation:
    """Loss and answers from one pass over the rows."""
    each = spec.encode_rows(records, backbone.tokenizer, slot)
    outputs = head_outputs(backbone, each, injection, head, batch_rows=_ROWS)
    kind, whole = spec.task_kind, np.concatenate(outputs)
    total = kind.head_loss(spec, each, torch.from_numpy(whole).float())
    loss = float(total) / count_targets("head", spec, each)
    if not kind.single_label:
        return Validation(loss, prior=kind.thresholds(spec, whole, [row.goal for row in each]))
    predictions = kind.head_answers(spec, records, outputs, backbone.tokenizer)
    labels = [*map(spec.label_of, records)]
    return _answered(loss, predictions, labels, fitted_prior(predictions, labels), calibrated)


def _of_pairs(
    backbone: Backbone,
    spec: TaskSpec,
    records: Sequence[Record],
    injection: Injection,
    slot: Slot,
) -> Validation:
    gold = [*map(spec.label_of, records)]
    pairs = pair_vectors(backbone, spec, records, injection, slot=slot, batch_rows=_ROWS)
    found = [p.answer == text for p, text in zip(nearest(records, *pairs), gold, strict=True)]
    loss = spec.task_kind.vector_loss(*pairs, gold)
    return Validation(loss=float(loss.double().mean()), accuracy=sum(found) / len(found))


def _summed_loss(
    backbone: Backbone,
    spec: TaskSpec,
    records: Sequence[Record],
    injection: Injection,
    slot: Slot,
    kind: Literal["tokens", "masks"],
    taught: Taught | None = None,
) -> float:
    rows = [spec.encode(record, backbone.tokenizer, slot) for record in records]
    batches = ordered_batches(row_lengths(rows), _ROWS)
    total, count = 0.0, 0
    with torch.inference_mode(), sharing_front(backbone, rows, injection, batches):
        for batch in batches:
            chosen = [rows[index] for index in batch]
            loss, targets = batch_loss(backbone, spec, chosen, injection, kind, taught)
            total, count = total + float(loss), count + targets
    return total / count
