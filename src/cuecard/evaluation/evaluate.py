"""One prompt against labelled rows: metrics, their intervals, and every single answer."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cuecard.errors import ConfigError, DataError
from cuecard.evaluation.embedding import retrieve
from cuecard.evaluation.loglikelihood import OnRows
from cuecard.evaluation.metric_tables import evaluation_html
from cuecard.evaluation.predict import BATCH_ROWS, NEGLIGIBLE, predict
from cuecard.evaluation.report import plain
from cuecard.lazy import np, require_extra
from cuecard.metrics.intervals import RESAMPLES, mean_interval, paired_interval
from cuecard.metrics.scores import RowScores
from cuecard.metrics.statistics import Statistic
from cuecard.plain_files import write_text
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Backbone, Head, Injection, Interval, Prediction, Record, Slot, Tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a prompt is worth on some records.

    Attributes:
        primary: the metric that counts, of which more is better; see `TaskKind`.
        metrics: name -> value; see `TaskKind.score`.
        ci95: name -> 95% interval; without the metrics that these rows give none for, such as the
            error of fewer than five numbers.
        vectors: name -> per-record values [n] behind the metrics that are means.
        records: the records, in order.
        predictions: their predictions, in the same order.
        seconds: wall time of the predictions.
        tokens_per_request: prompt vectors and template tokens, without the record's own text.
        statistics: name -> the metrics that are no means of shares.
        gold: the texts of the records' targets.
    """

    primary: str
    metrics: Mapping[str, Any]
    ci95: Mapping[str, Interval]
    vectors: Mapping[str, NDArray[np.float64]]
    records: tuple[Record, ...]
    predictions: tuple[Prediction, ...]
    seconds: float
    tokens_per_request: int
    statistics: Mapping[str, Statistic] = field(default_factory=dict)
    gold: tuple[str | None, ...] = ()

    @property
    def score(self) -> float:
        """The primary metric's value."""
        return float(self.metrics[self.primary])

    @property
    def correct(self) -> NDArray[np.float64]:
        """[n] 1.0 where the answer is right, else 0.0: all of it, where it has parts.

        Raises:
            ConfigError: numbers and masks, which are near or far.
        """
        for name in (self.primary, "exact_match", "sentence_accuracy"):
            if name in self.vectors and not self._by_degree:
                return self.vectors[name]
        raise ConfigError(
            "a number or a mask is not right or wrong", got=self.primary, expected="answers"
        )

    @property
    def _by_degree(self) -> bool:
        """Whether answers are near or far rather than right or wrong."""
        return not {"mae", "iou"}.isdisjoint(self.vectors)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the single records, as JSON knows it; intervals as [low, high]."""
        return {
            "rows": len(self.records),
            "metrics": plain(self.metrics),
            "ci95": plain(self.ci95),
            "seconds": self.seconds,
            "tokens_per_request": self.tokens_per_request,
        }

    def _repr_html_(self) -> str:
        return evaluation_html(self)

    def save_predictions(self, path: str | Path) -> Path:
        """Write one JSON object per record: its place, what was said, what was true."""
        lines = []
        for i, (record, prediction) in enumerate(zip(self.records, self.predictions, strict=True)):
            line: dict[str, Any] = {
                "row": record.row,
                "source": record.source,
                "fields": dict(record.texts),
                "gold": self.gold[i],
                "answer": prediction.answer,
                **({} if self._by_degree else {"correct": bool(self.correct[i])}),
                "scores": dict(prediction.scores),
                "probabilities": dict(prediction.probabilities),
            }
            told = (k for k in self.vectors if k != self.primary or self._by_degree)
            line |= {name: float(self.vectors[name][i]) for name in told}
            lines.append(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
        return write_text("".join(lines), path)


@dataclass(frozen=True, slots=True)
class Gain:
    """How much better one evaluation is than another on the same records.

    Attributes:
        value: the difference of `metric`.
        ci95: its paired 95% interval; from -inf to inf where the rows do not give one.
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
    head: Head | None = None,
    on_rows: OnRows | None = None,
) -> Evaluation:
    """Predict every record and compare with its target.

    An embedding task's answer is the nearest of all the records' targets. Of a long list of labels
    those that have together less than `NEGLIGIBLE` of the probability are not computed to their
    ends, which changes no answer.

    Args:
        seed: of the draws for F1's interval; the rest is as in `predict`.

    Raises:
        ConfigError: no records, libraries that are not installed, or as `predict`.
        DataError: a record without a target, or with a label that is not the task's.
    """
    require_extra("train", "scoring")
    check_targets(records, spec)
    started = time.perf_counter()
    how: dict[str, Any] = {
        "slot": slot,
        "batch_rows": batch_rows,
        "token_budget": token_budget,
        "on_rows": on_rows,
    }
    if spec.mode == "vector":
        predictions = retrieve(backbone, spec, records, injection, **how)
    else:
        predictions = predict(
            backbone,
            spec,
            records,
            injection,
            prior=prior,
            stop=stop,
            head=head,
            negligible=NEGLIGIBLE,
            **how,
        )
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
    gold = check_targets(records, spec)
    if len(predictions) != len(gold):
        raise ConfigError(
            "truth and answers have different lengths",
            got=f"{len(predictions)} answers",
            expected=f"{len(gold)}",
        )
    scored = spec.task_kind.score(spec, gold, predictions)
    ci95 = {k: mean_interval(v) for k, v in scored.vectors.items() if k not in scored.statistics}
    for name, statistic in scored.statistics.items():
        if (found := statistic.interval(seed, resamples)) is not None:
            ci95[name] = found
    return Evaluation(
        primary=spec.task_kind.metric,
        metrics=scored.metrics,
        ci95=ci95,
        vectors=scored.vectors,
        records=tuple(records),
        predictions=tuple(predictions),
        seconds=seconds,
        tokens_per_request=tokens_per_request,
        statistics=scored.statistics,
        gold=tuple(map(spec.target_text, records)),
    )


def row_scores(spec: TaskSpec, name: str) -> RowScores:
    """A named score for a task's answers.

    Raises:
        ConfigError: a task that is not answered in texts, or as `RowScores`.
    """
    if spec.mode != "text":
        raise ConfigError(
            "only generated texts can be scored with --score",
            where="--score",
            got=f"{name} for kind {spec.kind}",
            expected="a task of kind text-to-text; labels are right or wrong",
        )
    return RowScores(name)


def scored_too(found: Evaluation, name: str, values: Sequence[float]) -> Evaluation:
    """The same evaluation with one more metric: the mean of a value from 0 to 1 per record."""
    if name in found.vectors:
        return found
    vector = np.asarray(values, dtype=np.float64)
    return replace(
        found,
        metrics={**found.metrics, name: float(vector.mean())},
        ci95={**found.ci95, name: mean_interval(vector)},
        vectors={**found.vectors, name: vector},
    )


def only(spec: TaskSpec, found: Evaluation, rows: Sequence[int], *, seed: int = 0) -> Evaluation:
    """The evaluation of some of the rows alone, from the same predictions.

    Args:
        rows: the numbers of those to keep, from 0.
    """
    kept = [replace(found.predictions[row], index=index) for index, row in enumerate(rows)]
    return score_predictions(
        spec,
        [found.records[row] for row in rows],
        kept,
        tokens_per_request=found.tokens_per_request,
        seed=seed,
    )


def gain(
    better: Evaluation, worse: Evaluation, *, metric: str | None = None, seed: int = 0
) -> Gain:
    """The paired difference `better` - `worse` of a metric.

    Args:
        metric: the primary metric by default.

    Raises:
        ConfigError: different records, or a metric that has no paired interval.
    """
    name = metric or better.primary
    for side in (better, worse):
        if name not in side.vectors and name not in side.statistics:
            raise ConfigError(
                "this metric cannot be compared row by row",
                got=name,
                expected=" or ".join([*side.vectors, *side.statistics]),
            )
    if better.records != worse.records:
        raise ConfigError(
            "a paired comparison needs the same records in the same order",
            got=f"{len(better.records)} and {len(worse.records)} records that differ",
            expected="two evaluations of one test set",
        )
    difference = float(better.metrics[name]) - float(worse.metrics[name])
    if name in better.statistics:
        interval = better.statistics[name].gain(worse.statistics[name], seed)
    else:
        interval = paired_interval(better.vectors[name], worse.vectors[name])
    return Gain(name, difference, interval)


def prompt_tokens(spec: TaskSpec, tokenizer: Tokenizer, injection: Injection | None = None) -> int:
    """Positions per request besides the record's text: prompt vectors and template tokens."""
    empty = Record(dict.fromkeys(spec.record_fields, ""), None)
    bare = len(spec.encode(empty, tokenizer).context)
    return bare + (0 if injection is None else injection.length)


def check_targets(records: Sequence[Record], spec: TaskSpec) -> list[Any]:
    """The records' targets as their kind has them, all there and all known."""
    if not records:
        raise ConfigError("there is nothing to evaluate", got="0 records", expected="at least 1")
    kind, gold = spec.task_kind, []
    for number, record in enumerate(records, 1):
        target = record.target
        if target is None or (kind.single_label and spec.label_of(record) not in spec.labels):
            raise DataError(
                "this row cannot be evaluated",
                where=f"{record.source or 'records'}, row {record.row or number}",
                got=f"no {spec.target_field}" if target is None else repr(target),
                expected=", ".join(spec.labels) or f"a text in {spec.target_field}",
            )
        kind.check_target(spec, record)
        gold.append(spec.with_value(record).target)
    return gold
