"""Which metrics a kind of task has: one function per kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from cuecard.lazy import np
from cuecard.metrics.answers import (
    classification_metrics,
    correctness,
    exact_match,
    label_counts,
    retrieval_metrics,
    text_metrics,
    token_f1,
)
from cuecard.metrics.entities import entities
from cuecard.metrics.statistics import (
    Floats,
    Statistic,
    f1_of,
    macro_f1,
    mean_error,
    micro_f1,
    pearson,
    r_squared,
    rmse,
    spearman,
)
from cuecard.tasks.kinds import Kind, labels_of
from cuecard.tasks.readers.columns import answers_of
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Prediction


@dataclass(frozen=True, slots=True)
class Scored:
    """What predictions are worth.

    Attributes:
        metrics: name -> value.
        vectors: name -> per-record values [n] behind the metrics that are means; from 0 to 1
            where the name is not in `statistics` too.
        statistics: name -> the others, and means that are no shares.
    """

    metrics: Mapping[str, Any]
    vectors: Mapping[str, Floats]
    statistics: Mapping[str, Statistic] = field(default_factory=dict)


def score(spec: TaskSpec, gold: Sequence[str], predictions: Sequence[Prediction]) -> Scored:
    """The metrics of a task's predictions against its records' targets."""
    return _SCORERS[spec.kind](spec, gold, predictions)


def _classification(
    spec: TaskSpec, gold: Sequence[str], predictions: Sequence[Prediction]
) -> Scored:
    answers = [prediction.answer for prediction in predictions]
    return Scored(
        classification_metrics(gold, predictions, spec.labels),
        {"accuracy": correctness(gold, answers)},
        {"macro_f1": macro_f1(*label_counts(gold, answers, spec.labels))},
    )


def _text(spec: TaskSpec, gold: Sequence[str], predictions: Sequence[Prediction]) -> Scored:
    means, vectors = text_metrics(gold, [prediction.answer for prediction in predictions])
    return Scored(means, vectors)


def _found(spec: TaskSpec, gold: Sequence[str], predictions: Sequence[Prediction]) -> Scored:
    means, vectors = retrieval_metrics(gold, predictions)
    return Scored(means, vectors)


def _choice(spec: TaskSpec, gold: Sequence[str], predictions: Sequence[Prediction]) -> Scored:
    return _means({"accuracy": correctness(gold, [p.answer for p in predictions])})


def _several(spec: TaskSpec, gold: Sequence[str], predictions: Sequence[Prediction]) -> Scored:
    true = _held(spec, gold)
    said = _held(spec, [prediction.answer for prediction in predictions])
    hits = true * said
    counts = hits.sum(0), said.sum(0), true.sum(0)
    statistics = {"micro_f1": micro_f1(hits, said, true), "macro_f1": macro_f1(hits, said, true)}
    each = {
        label: _of_counts(*(int(count[k]) for count in counts))
        for k, label in enumerate(spec.labels)
    }
    exact = np.asarray((true == said).all(1), dtype=np.float64)
    return _with(statistics, {"exact_match": exact}, per_class=each)


def _number(spec: TaskSpec, gold: Sequence[str], predictions: Sequence[Prediction]) -> Scored:
    true = np.asarray([float(text) for text in gold])
    given = np.asarray([prediction.scores["value"] for prediction in predictions])
    makers = {"r2": r_squared, "rmse": rmse, "pearson": pearson, "spearman": spearman}
    errors = np.abs(true - given)
    statistics = {name: make(true, given) for name, make in makers.items()}
    return _with(statistics | {"mae": mean_error(errors)}, {"mae": errors})


def _tags(spec: TaskSpec, gold: Sequence[str], predictions: Sequence[Prediction]) -> Scored:
    true = [entities(labels_of(spec, text)) for text in gold]
    said = [entities(labels_of(spec, prediction.answer)) for prediction in predictions]
    pairs = list(zip(true, said, strict=True))
    rows = np.asarray([(len(t & s), len(s), len(t)) for t, s in pairs], dtype=np.float64)
    statistics = {"span_f1": micro_f1(rows[:, 0], rows[:, 1], rows[:, 2])}
    kinds = sorted({entity[0] for both in pairs for side in both for entity in side})
    each = {
        kind: _of_counts(
            sum(len({e for e in t & s if e[0] == kind}) for t, s in pairs),
            sum(e[0] == kind for _, s in pairs for e in s),
            sum(e[0] == kind for t, _ in pairs for e in t),
        )
        for kind in kinds
    }
    hits, given, wanted = (int(total) for total in rows.sum(0))
    overall = _of_counts(hits, given, wanted)
    sentences = correctness(gold, [prediction.answer for prediction in predictions])
    words = [
        g == a
        for text, p in zip(gold, predictions, strict=True)
        for g, a in zip(text.split(" "), p.answer.split(" "), strict=True)
    ]
    return _with(
        statistics,
        {"sentence_accuracy": sentences},
        precision=overall["precision"],
        recall=overall["recall"],
        word_accuracy=float(np.mean(words)),
        per_class=each,
    )


def _answers(spec: TaskSpec, gold: Sequence[str], predictions: Sequence[Prediction]) -> Scored:
    """SQuAD's: the best over a question's answers (Rajpurkar et al. 2016, arXiv:1606.05250)."""
    known = [[text for text, _ in answers_of(target)] for target in gold]
    said = [prediction.answer for prediction in predictions]
    vectors = {
        name: np.asarray(
            [
                max(metric(text, answer) for text in texts)
                for texts, answer in zip(known, said, strict=True)
            ],
            dtype=np.float64,
        )
        for name, metric in (("exact_match", exact_match), ("token_f1", token_f1))
    }
    return _means(vectors)


def _held(spec: TaskSpec, targets: Sequence[str]) -> Floats:
    """[n, K] 1.0 where a label holds."""
    held = [set(labels_of(spec, target)) for target in targets]
    return np.asarray([[float(label in some) for label in spec.labels] for some in held])


def _of_counts(hits: int, said: int, true: int) -> dict[str, float]:
    f1 = f1_of(*(np.asarray([float(count)]) for count in (hits, said, true)))[0]
    precision, recall = hits / said if said else 0.0, hits / true if true else 0.0
    return {"precision": precision, "recall": recall, "f1": float(f1), "support": true}


def _means(vectors: Mapping[str, Floats]) -> Scored:
    return Scored({name: float(vector.mean()) for name, vector in vectors.items()}, vectors)


def _with(
    statistics: Mapping[str, Statistic], vectors: Mapping[str, Floats], **more: Any
) -> Scored:
    metrics = {name: statistic.value() for name, statistic in statistics.items()}
    means = {name: float(vector.mean()) for name, vector in vectors.items()}
    return Scored({**metrics, **means, **more}, vectors, statistics)


Scorer = Callable[[TaskSpec, Sequence[str], Sequence[Prediction]], Scored]

_SCORERS: Mapping[Kind, Scorer] = MappingProxyType(
    {
        "classification": _classification,
        "text-to-text": _text,
        "multi-label": _several,
        "regression": _number,
        "multiple-choice": _choice,
        "tagging": _tags,
        "extractive-qa": _answers,
        "embedding": _found,
    }
)

# The metric that counts, larger is better, and the one that stands beside it.
PRIMARY: Mapping[Kind, str] = MappingProxyType(
    {
        "classification": "accuracy",
        "text-to-text": "exact_match",
        "multi-label": "micro_f1",
        "regression": "r2",
        "multiple-choice": "accuracy",
        "tagging": "span_f1",
        "extractive-qa": "exact_match",
        "embedding": "recall@1",
    }
)
SECOND: Mapping[Kind, str] = MappingProxyType(
    {
        "classification": "macro_f1",
        "text-to-text": "token_f1",
        "multi-label": "macro_f1",
        "regression": "rmse",
        "multiple-choice": "accuracy",
        "tagging": "word_accuracy",
        "extractive-qa": "token_f1",
        "embedding": "recall@10",
    }
)
