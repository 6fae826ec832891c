"""One prompt against labelled rows: metrics, their intervals, and every single answer."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cuecard.errors import ConfigError, DataError
from cuecard.evaluation.embedding import retrieve
from cuecard.evaluation.intervals import (
    RESAMPLES,
    bootstrap,
    bootstrap_statistic,
    paired_bootstrap,
)
from cuecard.evaluation.metrics import (
    classification_metrics,
    correctness,
    macro_f1_statistic,
    retrieval_metrics,
    text_metrics,
)
from cuecard.evaluation.predict import BATCH_ROWS, OnRows, predict
from cuecard.evaluation.report import plain, write_text
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Backbone, Injection, Interval, Prediction, Record, Slot, Tokenizer

PRIMARY = {
    "classification": "accuracy",
    "text-to-text": "exact_match",
    "embedding": "recall@1",
}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a prompt is worth on some records.

    Attributes:
        primary: the metric that counts: "accuracy", "exact_match" or "recall@1".
        metrics: name -> value; see `classification_metrics`, `text_metrics`, `retrieval_metrics`.
        ci95: name -> 95% bootstrap interval; empty where there are fewer than two records.
        vectors: name -> per-record values [n] behind the metrics that are means.
        records: the records, in order.
        predictions: their predictions, in the same order.
        seconds: wall time of the predictions.
        tokens_per_request: prompt vectors and template tokens, without the record's own text.
    """

    primary: str
    metrics: Mapping[str, Any]
    ci95: Mapping[str, Interval]
    vectors: Mapping[str, NDArray[np.float64]]
    records: tuple[Record, ...]
    predictions: tuple[Prediction, ...]
    seconds: float
    tokens_per_request: int

    @property
    def score(self) -> float:
        """The primary metric's value."""
        return float(self.metrics[self.primary])

    @property
    def correct(self) -> NDArray[np.float64]:
        """[n] 1.0 where the answer is right, else 0.0."""
        return self.vectors[self.primary]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the single records, as JSON knows it; intervals as [low, high]."""
        return {
            "rows": len(self.records),
            "metrics": plain(self.metrics),
            "ci95": plain(self.ci95),
            "seconds": self.seconds,
            "tokens_per_request": self.tokens_per_request,
        }

    def save_predictions(self, path: str | Path) -> Path:
        """Write one JSON object per record: where it stands, what was said, what was true."""
        lines = []
        for i, (record, prediction) in enumerate(zip(self.records, self.predictions, strict=True)):
            line: dict[str, Any] = {
                "row": record.row,
                "source": record.source,
                "fields": dict(record.fields),
                "gold": record.target,
                "answer": prediction.answer,
                "correct": bool(self.correct[i]),
                "scores": dict(prediction.scores),
                "probabilities": dict(prediction.probabilities),
            }
            line |= {k: float(v[i]) for k, v in self.vectors.items() if k != self.primary}
            lines.append(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
        return write_text("".join(lines), path)


@dataclass(frozen=True, slots=True)
class Gain:
    """How much better one evaluation is than another on the same records.

    Attributes:
        value: the difference of the means of `metric`.
        ci95: its paired bootstrap interval.
    """

    metric: str
    value: float
    ci95: Interval


def evaluate(
    backbone: Backbone,
    spec: TaskSpec,
    records: Sequence[Record],
    injection: Injection | None = None,
    *,
    slot: Slot = "prefix",
    batch_rows: int = BATCH_ROWS,
    token_budget: int | None = None,
    prior: Mapping[str, float] | None = None,
    stop: str | None = None,
    seed: int = 0,
    on_rows: OnRows | None = None,
) -> Evaluation:
    """Predict every record and compare with its target.

    An embedding task's answer is the nearest of all the records' targets.

    Args:
        seed: of the bootstrap; the rest is as in `predict`.

    Raises:
        ConfigError: no records, or as `predict`.
        DataError: a record without a target, or with a label that is not the task's.
    """
    _check_targets(records, spec)
    started = time.perf_counter()
    how: dict[str, Any] = {
        "slot": slot,
        "batch_rows": batch_rows,
        "token_budget": token_budget,
        "on_rows": on_rows,
    }
    if spec.kind == "embedding":
        predictions = retrieve(backbone, spec, records, injection, **how)
    else:
        predictions = predict(backbone, spec, records, injection, prior=prior, stop=stop, **how)
    return score_predictions(
        spec,
        records,
        predictions,
        seconds=time.perf_counter() - started,
        tokens_per_request=prompt_tokens(spec, backbone.tokenizer, injection),
        seed=seed,
    )


def score_predictions(
    spec: TaskSpec,
    records: Sequence[Record],
    predictions: Sequence[Prediction],
    *,
    seconds: float = 0.0,
    tokens_per_request: int = 0,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Evaluation:
    """The evaluation of predictions that were made before.

    Raises:
        ConfigError: no records, or another number of predictions.
        DataError: as `evaluate`.
    """
    gold = _check_targets(records, spec)
    answers = [prediction.answer for prediction in predictions]
    metrics: dict[str, Any]
    if spec.kind == "classification":
        metrics = classification_metrics(gold, predictions, spec.labels)
        vectors = {"accuracy": correctness(gold, answers)}
    elif spec.kind == "embedding":
        means, vectors = retrieval_metrics(gold, predictions)
        metrics = dict(means)
    else:
        means, vectors = text_metrics(gold, answers)
        metrics = dict(means)
    ci95: dict[str, Interval] = {}
    if len(gold) > 1:
        ci95 = {k: bootstrap(v, seed, resamples=resamples) for k, v in vectors.items()}
        if spec.kind == "classification":
            statistic = macro_f1_statistic(gold, answers, spec.labels)
            ci95["macro_f1"] = bootstrap_statistic(len(gold), statistic, seed, resamples=resamples)
    return Evaluation(
        primary=PRIMARY[spec.kind],
        metrics=metrics,
        ci95=ci95,
        vectors=vectors,
        records=tuple(records),
        predictions=tuple(predictions),
        seconds=seconds,
        tokens_per_request=tokens_per_request,
    )


def gain(
    better: Evaluation, worse: Evaluation, *, metric: str | None = None, seed: int = 0
) -> Gain:
    """The paired difference `better` - `worse` of a metric that is a mean over records.

    Args:
        metric: the primary metric by default.

    Raises:
        ConfigError: different records, fewer than two of them, or a metric that is not a mean.
    """
    name = metric or better.primary
    for side in (better, worse):
        if name not in side.vectors:
            raise ConfigError(
                "this metric cannot be compared row by row",
                got=name,
                expected=" or ".join(side.vectors),
            )
    if better.records != worse.records:
        raise ConfigError(
            "a paired comparison needs the same records in the same order",
            got=f"{len(better.records)} and {len(worse.records)} records that differ",
            expected="two evaluations of one test set",
        )
    first, second = better.vectors[name], worse.vectors[name]
    interval = paired_bootstrap(first, second, seed)
    return Gain(name, float(first.mean() - second.mean()), interval)


def prompt_tokens(spec: TaskSpec, tokenizer: Tokenizer, injection: Injection | None = None) -> int:
    """Positions per request besides the record's text: prompt vectors and template tokens."""
    empty = Record(dict.fromkeys(spec.field_names, ""), None)
    bare = len(spec.encode(empty, tokenizer).context)
    return bare + (0 if injection is None else injection.length)


def _check_targets(records: Sequence[Record], spec: TaskSpec) -> list[str]:
    """The records' targets, all there and all known."""
    if not records:
        raise ConfigError("there is nothing to evaluate", got="0 records", expected="at least 1")
    gold = []
    for number, record in enumerate(records, 1):
        target = record.target
        if target is None or (spec.kind == "classification" and target not in spec.labels):
            raise DataError(
                "this row cannot be evaluated",
                where=f"{record.source or 'records'}, row {record.row or number}",
                got=f"no {spec.target_field}" if target is None else repr(target),
                expected=", ".join(spec.labels) or f"a text in {spec.target_field}",
            )
        gold.append(target)
    return gold
