"""Any number of several labels, each by a trained head."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from cuecard.lazy import functional, np, torch
from cuecard.metrics.statistics import f1_of, macro_f1, micro_f1
from cuecard.metrics.values import MetricValues, of_counts
from cuecard.tasks.kinds.base import (
    AnswerMode,
    Baseline,
    Predictions,
    Readers,
    Records,
    Targets,
    TaskKind,
    no_training_rows,
    same_for_all,
)
from cuecard.tasks.predictions import Floats
from cuecard.tasks.readers.columns import columns_of, labels_column, parts_of
from cuecard.tasks.readers.tables import TARGET
from cuecard.tasks.settings import TaskSettings
from cuecard.types import Encoded, Prediction, Record, Value, value_text

if TYPE_CHECKING:
    from torch import Tensor


class MultiLabelSettings(BaseModel):
    """What a multi-label task says besides."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    separator: str = Field(
        default=",",
        min_length=1,
        exclude_if=lambda x: x == ",",
        description="What separates the labels in a cell.",
    )


class MultiLabelKind(TaskKind[MultiLabelSettings]):
    """Any number of several labels."""

    name = "multi-label"
    about = "any number of several labels"
    settings = MultiLabelSettings
    template = "{text}\nLabels:"
    metric = "micro_f1"
    headings = ("micro-F1", "macro-F1")
    mode: AnswerMode = "head"
    labelled = True
    least_labels = 1
    has_thresholds = True
    text_model = "labels"

    def columns(self, spec: TaskSettings, target: str | None, named: Mapping[str, str]) -> Readers:
        """Labels as a list, as a text with separators, or as a column of 0 and 1 each."""
        return {} if target is None else {TARGET: labels_column(target, self.separator(spec))}

    def target_columns(self, column: str) -> tuple[str, ...]:
        """One column, or one for each label."""
        return columns_of(column)

    def separator(self, spec: TaskSettings) -> str:
        """The task's own."""
        return self.own(spec).separator

    def target_of(self, spec: TaskSettings, value: Value) -> tuple[str, ...]:
        """The labels that hold, sorted."""
        return tuple(sorted({part for part in parts_of(value, self.separator(spec)) if part}))

    def goal(self, spec: TaskSettings, record: Record) -> tuple[float, ...]:
        """For each label 0 or 1."""
        held = super().goal(spec, record)
        return tuple(float(number in held) for number in range(len(spec.labels)))

    def head_loss(self, spec: TaskSettings, rows: Sequence[Encoded], outputs: Tensor) -> Tensor:
        """Binary cross-entropy, the mean over the labels."""
        wanted = torch.tensor([row.goal for row in rows], device=outputs.device)
        each = functional.binary_cross_entropy_with_logits(outputs, wanted, reduction="none")
        return each.mean(1).sum()

    def answers(
        self, spec: TaskSettings, outputs: Floats, prior: Mapping[str, float] | None = None
    ) -> list[Prediction]:
        """Every label whose logit is above its threshold, which is 0 without a prior.

        Args:
            prior: label -> the threshold, as a logit.
        """
        separator = self.separator(spec)
        shifts = np.asarray([0.0 if prior is None else prior[label] for label in spec.labels])
        scores = outputs - shifts
        predictions = []
        for index, (row, shares) in enumerate(zip(scores, sigmoid(scores), strict=True)):
            given = tuple(sorted(x for x, s in zip(spec.labels, row, strict=True) if s > 0))
            by_label = dict(zip(spec.labels, row.tolist(), strict=True))
            probabilities = dict(zip(spec.labels, shares.tolist(), strict=True))
            answer = value_text(given, separator)
            predictions.append(Prediction(index, answer, by_label, probabilities))
        return predictions

    def thresholds(
        self, spec: TaskSettings, outputs: Floats, gold: Sequence[Sequence[float]]
    ) -> dict[str, float]:
        """label -> the threshold, as a logit, with the best F1 on labelled rows; of equals 0.

        Args:
            outputs: [n, K].
            gold: [n, K] of 0 and 1.
        """
        found = {}
        for k, label in enumerate(spec.labels):
            order = np.argsort(-outputs[:, k], kind="stable")
            scores, truth = outputs[order, k], np.asarray(gold)[order, k]
            f1 = 2 * np.cumsum(truth) / (np.arange(1, len(truth) + 1) + truth.sum())
            # A threshold lies between two scores that differ, and may let every row pass.
            below = np.append(scores[1:], scores[-1] - 1.0)
            usable = np.where(scores > below, f1, -1.0)
            best = int(usable.argmax())
            as_it_is = int((scores > 0).sum())
            plain = f1[as_it_is - 1] if as_it_is else 0.0
            middle = float(scores[best] + below[best]) / 2
            found[label] = round(middle, 6) if usable[best] > plain + 1e-12 else 0.0
        return found

    def score(self, spec: TaskSettings, gold: Targets, predictions: Predictions) -> MetricValues:
        """Micro- and macro-F1, each label's own, and the share of rows with all of them right."""
        true = self._held(spec, gold)
        said = self._held(spec, [prediction.answer for prediction in predictions])
        hits = true * said
        counts = hits.sum(0), said.sum(0), true.sum(0)
        each = {
            label: of_counts(*(int(count[k]) for count in counts))
            for k, label in enumerate(spec.labels)
        }
        exact = np.asarray((true == said).all(1), dtype=np.float64)
        f1 = {"micro_f1": micro_f1(hits, said, true), "macro_f1": macro_f1(hits, said, true)}
        return MetricValues.of({"exact_match": exact}, f1, per_class=each)

    def baselines(self, spec: TaskSettings, train: Records, test: Records) -> Iterator[Baseline]:
        """The most common labels, as many as have the best micro-F1 on the training rows."""
        name = "the commonest labels"
        yield Baseline(
            "baseline", name, name, lambda: same_for_all(self._common(spec, train), len(test))
        )

    def _common(self, spec: TaskSettings, train: Records) -> str:
        if not train:
            raise no_training_rows(self.name)
        counts = Counter(label for r in train for label in self.labels_of(spec, r.target or ""))
        order = sorted(spec.labels, key=lambda label: (-counts[label], label))
        hits = np.cumsum([float(counts[label]) for label in order])
        said = np.arange(1.0, len(order) + 1) * len(train)
        best = int(f1_of(hits, said, np.full_like(said, float(counts.total()))).argmax()) + 1
        return value_text(tuple(sorted(order[:best])), self.separator(spec))

    def _held(self, spec: TaskSettings, targets: Targets) -> Floats:
        """[n, K] 1.0 where a label holds."""
        held = [set(self.labels_of(spec, target)) for target in targets]
        return np.asarray([[float(label in some) for label in spec.labels] for some in held])


def sigmoid(values: Floats) -> Floats:
    """Logits as probabilities."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -values)))


MULTI_LABEL = MultiLabelKind()
