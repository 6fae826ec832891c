"""How nearly a prompt answers as a teacher does: the whole text, or another prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from cuecard.evaluation.predict import predict
from cuecard.lazy import np, torch
from cuecard.metrics.intervals import mean_interval, ratio_interval
from cuecard.tasks import TaskSpec, collate, ordered_batches
from cuecard.tasks.encoding.batching import row_lengths
from cuecard.tasks.predictions import label_scores, log_softmax
from cuecard.training.objective.top_tokens import Taught, divergence
from cuecard.types import Backbone, Encoded, Injection, Interval, Prediction, Record, Slot

if TYPE_CHECKING:
    from torch import Tensor

_ROWS = 8


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How a prompt's answers to some inputs compare with a teacher's.

    Attributes:
        rows: how many inputs.
        agreement: the share of the teacher's answer tokens that are the prompt's likeliest too,
            each after the ones before it; of labels the share that are the same.
        same: the share of whole answers, each generated on its own, that are the same; of labels
            `agreement`.
        ci95: of `same`.
        kl: nats, the mean over answer tokens of KL(teacher || prompt) over the teacher's likeliest
            tokens and all others as one; over the labels where there are some; None where the
            teacher's answers are known as texts alone.
        agreement_ci95: of `agreement`.
    """

    rows: int
    agreement: float
    same: float
    ci95: Interval
    kl: float | None
    agreement_ci95: Interval


@dataclass(frozen=True)
class AnsweredInputs:
    """Inputs that a teacher has answered, to compare others' answers with.

    Attributes:
        backbone: of the prompts that are compared.
        spec: what they are asked.
        slot: where they stand.
        records: the inputs; their targets are the teacher's answers.
        wanted: its answers.
        taught: its likeliest tokens for each row; empty for labels, and where its answers are
            known as texts alone.
    """

    backbone: Backbone
    spec: TaskSpec
    slot: Slot
    records: Sequence[Record]
    wanted: Sequence[Prediction]
    taught: Taught

    def fidelity(
        self, injection: Injection | None, answers: Sequence[Prediction] | None = None
    ) -> Fidelity:
        """How nearly an injection answers as the teacher does.

        Args:
            answers: its own answers, where they are known.
        """
        answers = self._answers(injection) if answers is None else answers
        same = np.array([float(flag) for flag in self._same(answers)])
        share, interval = float(same.mean()), mean_interval(same)
        if self.spec.mode == "labels":
            apart = _label_kl(self.wanted, answers)
            return Fidelity(len(same), share, share, interval, apart, interval)
        found = self._by_token(injection)
        return Fidelity(len(same), found.share, share, interval, found.kl, found.ci95)

    def agreement(self, injection: Injection | None) -> float:
        """`Fidelity.agreement` alone, for which no texts are generated."""
        if self.spec.mode == "labels":
            same = self._same(self._answers(injection))
            return sum(same) / len(same)
        return self._by_token(injection).share

    def _answers(self, injection: Injection | None) -> list[Prediction]:
        return predict(self.backbone, self.spec, self.records, injection, slot=self.slot)

    def _same(self, answers: Sequence[Prediction]) -> list[bool]:
        pairs = zip(answers, self.wanted, strict=True)
        return [found.answer == wanted.answer for found, wanted in pairs]

    def _by_token(self, injection: Injection | None) -> _ByToken:
        """Agreement and KL over all answer tokens."""
        rows = self.spec.encode_rows(self.records, self.backbone.tokenizer, self.slot)
        same, sizes, apart = [0] * len(rows), [len(row.target) for row in rows], 0.0
        for batch in ordered_batches(row_lengths(rows), _ROWS):
            some = [rows[index] for index in batch]
            with torch.inference_mode():
                collated = collate([(row, row.target) for row in some])
                reads = self.backbone.read(collated, injection)
                best = reads.logits().argmax(-1).cpu()
                if self.taught:
                    apart += float(divergence(some, self.taught, reads).sum())
            each = torch.split(best == self._likeliest(some), [sizes[index] for index in batch])
            for index, flags in zip(batch, each, strict=True):
                same[index] = int(flags.sum())
        total = sum(sizes)
        kl = apart / total if self.taught else None
        return _ByToken(sum(same) / total, ratio_interval(same, sizes), kl)

    def _likeliest(self, rows: Sequence[Encoded]) -> Tensor:
        """[N] the teacher's token at each token of the targets."""
        if self.taught:
            return torch.cat([self.taught[row].tokens[:, 0] for row in rows])
        return torch.tensor([token for row in rows for token in row.target])


class _ByToken(NamedTuple):
    share: float
    ci95: Interval
    kl: float | None


def _label_kl(wanted: Sequence[Prediction], answers: Sequence[Prediction]) -> float:
    teacher, student = (log_softmax(label_scores(each)[1]) for each in (wanted, answers))
    return float((np.exp(teacher) * (teacher - student)).sum(-1).mean())
