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


@dataclass(frozen=True)
class AnsweredInputs:
    """Inputs that the whole text has answered, to compare others' answers with.

    Attributes:
        text: the text.
        records: the inputs; their targets are its answers.
        wanted: its answers.
        taught: its likeliest tokens for each row; not used for labels.
    """

    text: FullText
    records: Sequence[Record]
    wanted: Sequence[Prediction]
    taught: Taught

    def fidelity(
        self, injection: Injection | None, answers: Sequence[Prediction] | None = None
    ) -> Fidelity:
        """How nearly an injection answers as the text does.

        Args:
            answers: its own answers, where they are known.
        """
        answers = self._answers(injection) if answers is None else answers
        same = np.array([float(flag) for flag in self._same(answers)])
        share, interval = float(same.mean()), mean_interval(same)
        if self.text.spec.mode == "labels":
            return Fidelity(len(same), share, share, interval, _label_kl(self.wanted, answers))
        agreement, kl = self._by_token(injection)
        return Fidelity(len(same), agreement, share, interval, kl)

    def agreement(self, injection: Injection | None) -> float:
        """`Fidelity.agreement` alone, for which no texts are generated."""
        if self.text.spec.mode == "labels":
            same = self._same(self._answers(injection))
            return sum(same) / len(same)
        return self._by_token(injection)[0]

    def _answers(self, injection: Injection | None) -> list[Prediction]:
        text = self.text
        return predict(text.backbone, text.spec, self.records, injection, slot=text.slot)

    def _same(self, answers: Sequence[Prediction]) -> list[bool]:
        pairs = zip(answers, self.wanted, strict=True)
        return [found.answer == wanted.answer for found, wanted in pairs]

    def _by_token(self, injection: Injection | None) -> tuple[float, float]:
        """Agreement and KL over all answer tokens."""
        text, taught = self.text, self.taught
        rows: list[Encoded] = text.spec.encode_rows(
            self.records, text.backbone.tokenizer, text.slot
        )
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
