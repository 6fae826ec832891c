"""What answers are worth to a search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cuecard.evaluation.evaluate import row_scores
from cuecard.tasks import TaskSpec
from cuecard.types import Record, value_text

USUAL = "rouge_l"
"""What texts are scored by where nothing else is asked for."""


class Scorer(Protocol):
    """Says what answers are worth.

    Attributes:
        name: of the score; for labels the kind's own metric.
    """

    name: str

    async def scores(self, records: Sequence[Record], answers: Sequence[str]) -> list[float]:
        """What each answer is worth, from 0 to 1.

        Raises:
            DataError: a user's own function that fails, with its row.
            BudgetSpent, LLMError: of a model that judges.
        """
        ...


class RowScorer:
    """Scores every answer by a rule: labels by whether they are right, texts by a named score.

    Args:
        score: see `row_scores`; ROUGE-L of texts by default.

    Raises:
        ConfigError: as `row_scores`.
    """

    def __init__(self, spec: TaskSpec, score: str | None = None) -> None:
        if score is None and spec.mode == "text":
            score = USUAL
        self._spec = spec
        self._rows = None if score is None else row_scores(spec, score)
        self.name = spec.task_kind.metric if self._rows is None else self._rows.name

    async def scores(self, records: Sequence[Record], answers: Sequence[str]) -> list[float]:
        """See `Scorer.scores`."""
        if self._rows is None:
            gold = map(self._spec.label_of, records)
            return [float(told == true) for told, true in zip(answers, gold, strict=True)]
        return self._rows(records, target_texts(self._spec, records), answers)


def target_texts(spec: TaskSpec, records: Sequence[Record]) -> list[str]:
    """The records' targets as texts."""
    return [value_text(spec.with_value(record).target or "") for record in records]
