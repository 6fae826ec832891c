"""One of several labels: the model says the label's word, or a trained head tells them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from cuecard.errors import ConfigError
from cuecard.lazy import np
from cuecard.metrics.answers import classification_metrics, correctness, label_counts
from cuecard.metrics.statistics import macro_f1
from cuecard.metrics.values import MetricValues
from cuecard.tasks.kinds.base import Baseline, HandWritten, Predictions, Records, Targets, TaskKind
from cuecard.tasks.settings import NoSettings, TaskSettings
from cuecard.types import Prediction, Record, value_text


class ClassificationKind(TaskKind[NoSettings]):
    """One of several labels."""

    name = "classification"
    about = "one of several labels"
    head_is_optional = True
    labelled = True
    single_label = True
    right_or_wrong = True
    text_model = "classes"
    hand_written: HandWritten | None = HandWritten("accuracy", 256, (32, 64, 128))

    def score(self, spec: TaskSettings, gold: Targets, predictions: Predictions) -> MetricValues:
        """Accuracy, macro-F1, calibration error and the confusion matrix."""
        answers = [prediction.answer for prediction in predictions]
        return MetricValues(
            classification_metrics(gold, predictions, spec.labels),
            {"accuracy": correctness(gold, answers)},
            {"macro_f1": macro_f1(*label_counts(gold, answers, spec.labels))},
        )

    def baselines(self, spec: TaskSettings, train: Records, test: Records) -> Iterator[Baseline]:
        """The most common label."""
        name = "majority class"
        yield Baseline("majority", name, f"the {name}", lambda: most_common(spec, train, len(test)))


def most_common(spec: TaskSettings, train: Sequence[Record], count: int) -> list[Prediction]:
    """The training records' most common answer, so many times.

    Raises:
        ConfigError: no training record has a target.
    """
    counts = Counter(value_text(r.target) for r in train if r.target is not None)
    if not counts:
        raise ConfigError("there is no most common answer", got="no targets", expected="some")
    answer, most = counts.most_common(1)[0]
    total = counts.total()
    # Of equals the task's first label, whatever the order of the rows.
    answer = next((label for label in spec.labels if counts[label] == most), answer)
    shares = {label: counts[label] / total for label in spec.labels}
    scores = {label: float(np.log(max(share, 1e-12))) for label, share in shares.items()}
    return [Prediction(index, answer, scores, shares) for index in range(count)]


CLASSIFICATION = ClassificationKind()
