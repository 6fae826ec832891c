"""A text in, a text out."""

from __future__ import annotations

from collections.abc import Iterator

from cuecard.metrics.answers import text_metrics
from cuecard.metrics.values import MetricValues
from cuecard.tasks.encoding.bound import BoundTask
from cuecard.tasks.kinds.base import Baseline, HandWritten, Predictions, Records, Targets, TaskKind
from cuecard.tasks.kinds.classification import most_common
from cuecard.tasks.settings import NoSettings, TaskSettings
from cuecard.types import Record, value_text


class TextToTextKind(TaskKind[NoSettings]):
    """A text that the model generates."""

    name = "text-to-text"
    about = "a text that the model generates"
    template = "{text}\nAnswer:"
    metric = "exact_match"
    second = "token_f1"
    headings = ("ROUGE-L", "token F1")
    mode = "text"
    target_may_be_shown = True
    # Texts that say the same in other words would all count as wrong by the exact match. An answer
    # takes many passes: few rows.
    hand_written = HandWritten("rouge_l", 48, (8, 16))

    def target_ids(self, spec: TaskSettings, record: Record, bound: BoundTask) -> tuple[int, ...]:
        """The text's ids and the end token."""
        return bound.text(value_text(record.target or ""))

    def score(self, spec: TaskSettings, gold: Targets, predictions: Predictions) -> MetricValues:
        """Exact match, token F1 and ROUGE-L."""
        means, vectors = text_metrics(gold, [prediction.answer for prediction in predictions])
        return MetricValues(means, vectors)

    def baselines(self, spec: TaskSettings, train: Records, test: Records) -> Iterator[Baseline]:
        """The most common text."""
        name = "most common text"
        yield Baseline("majority", name, f"the {name}", lambda: most_common(spec, train, len(test)))


TEXT_TO_TEXT = TextToTextKind()
