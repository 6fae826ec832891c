"""How nearly a prompt answers as the whole text does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cuecard.evaluation.predict import predict
from cuecard.lazy import np, torch
from cuecard.metrics.intervals import mean_interval
from cuecard.tasks import collate, ordered_batches
from cuecard.tasks.encoding.batching import row_lengths
from cuecard.tasks.predictions import label_scores, log_softmax
from cuecard.training.compiling.full_text import FullText
from cuecard.training.objective.top_tokens import Taught, divergence
from cuecard.types import Encoded, Injection, Interval, Prediction, Record

_ROWS = 8


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How a prompt's answers to some inputs compare with the whole text's.

    Attributes:
        rows: how many inputs.
        agreement: the share of the full text's answer tokens that are the prompt's likeliest too,
            each after the ones before it; of labels the share that are the same.
        same: the share of whole answers, each generated on its own, that are the same; of labels
            `agreement`.
        ci95: of `same`.
        kl: nats, the mean over answer tokens of KL(full text || prompt) over the full text's
            likeliest tokens and all others as one; over the labels where there are some.
    """

    rows: int
    agreement: float
    same: float
    ci95: Interval
    kl: float


def fidelity_of(
    text: FullText,
    records: Sequence[Record],
    injection: Injection | None,
    taught: Taught,
    wanted: Sequence[Prediction],
    answers: Sequence[Prediction] | None = None,
) -> Fidelity:
    """Compare an injection with the whole text on inputs whose targets are the text's answers.

    Args:
        taught: the text's likeliest tokens for each row; not used for labels.
        wanted: the text's answers.
        answers: the injection's own answers, where they are known.
    """
    if answers is None:
        answers = predict(text.backbone, text.spec, records, injection, slot=text.slot)
    pairs = list(zip(answers, records, strict=True))
    same = np.array([float(found.answer == record.target) for found, record in pairs])
    share, interval = float(same.mean()), mean_interval(same)
    if text.spec.mode == "labels":
        return Fidelity(len(pairs), share, share, interval, _label_kl(wanted, answers))
    agreement, kl = _by_token(text, records, injection, taught)
    return Fidelity(len(pairs), agreement, share, interval, kl)


def token_agreement(
    text: FullText, records: Sequence[Record], injection: Injection | None, taught: Taught
) -> float:
    """`Fidelity.agreement` alone, which needs no answers to be generated."""
    if text.spec.mode == "labels":
        found = predict(text.backbone, text.spec, records, injection, slot=text.slot)
        same = [one.answer == r.target for one, r in zip(found, records, strict=True)]
        return sum(same) / len(same)
    return _by_token(text, records, injection, taught)[0]


def _by_token(
    text: FullText, records: Sequence[Record], injection: Injection | None, taught: Taught
) -> tuple[float, float]:
    """Agreement and KL over all answer tokens."""
    rows: list[Encoded] = text.spec.encode_rows(records, text.backbone.tokenizer, text.slot)
    total, same, apart = 0, 0, 0.0
    for batch in ordered_batches(row_lengths(rows), _ROWS):
        some = [rows[index] for index in batch]
        with torch.inference_mode():
            collated = collate([(row, row.target) for row in some])
            reads = text.backbone.read(collated, injection)
            best = reads.logits().argmax(-1).cpu()
            apart += float(divergence(some, taught, reads).sum())
        wanted = torch.cat([taught[row].tokens[:, 0] for row in some])
        same += int((best == wanted).sum())
        total += len(best)
    return same / total, apart / total


def _label_kl(wanted: Sequence[Prediction], answers: Sequence[Prediction]) -> float:
    teacher, student = (log_softmax(label_scores(each)[1]) for each in (wanted, answers))
    return float((np.exp(teacher) * (teacher - student)).sum(-1).mean())
