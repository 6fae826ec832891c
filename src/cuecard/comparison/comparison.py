"""What a trained prompt is compared with on the test rows, and what the report says of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cuecard.comparison.run_facts import numbers, rows_note, run_facts, seconds, training_notes
from cuecard.errors import CuecardError, Interrupted
from cuecard.evaluation.evaluate import Evaluation, Gain, gain
from cuecard.evaluation.report import ReportRow, paired
from cuecard.html_tables import html_notes, html_table, html_view
from cuecard.parameter_counts import trained_text
from cuecard.tasks import Task, TaskSpec
from cuecard.training.alongside import COMPARISON_SHARE
from cuecard.training.run import Run
from cuecard.training.storage.log import Observer, rows_done
from cuecard.types import Backbone

TOO_DEAR = "the comparison may not cost more than the training"
# The order of the table's rows, and of the report's gains.
_ORDER = (
    "majority",
    "baseline",
    "overlap",
    "no_prompt",
    "tfidf",
    "sentence_vectors",
    "nearest_mean",
    "linear_probe",
    "start",
    "template",
    "manual",
    "manual_calibrated",
    "in_context",
)
# Contestants whose gain has a name of its own in the report.
_GAINS = {"manual": "gain", "manual_calibrated": "gain_calibrated", "no_prompt": "gain"}


TRAINED = "trained: "
"""How the name of a run's own prompt begins in its table."""


@dataclass(frozen=True)
class Proof:
    """The comparison on the test rows.

    Attributes:
        rows: the table, the prompt last.
        columns: its headings.
        notes: sentences about gains and training.
        report: the same and more, as JSON knows it.
    """

    rows: tuple[ReportRow, ...]
    columns: tuple[str, ...]
    notes: tuple[str, ...]
    report: Mapping[str, Any]

    def _repr_html_(self) -> str:
        rows = [row.cells() for row in self.rows]
        table = html_table(self.columns, rows, bold={len(rows) - 1})
        return html_view("Comparison on the test rows", table, html_notes(self.notes))


@dataclass(frozen=True)
class Contestant:
    """Something that answered the test rows once.

    Attributes:
        key: its name in report.json.
        name: its name in the table.
        against: what it is called where a sentence tells the gain over it.
        found: its evaluation on the test rows.
        nbytes: what one more task costs on disk.
        cpu_seconds: to choose or fit it; None where there was nothing to do.
        facts: what else report.json says of it.
    """

    key: str
    name: str
    against: str
    found: Evaluation
    nbytes: int = 0
    cpu_seconds: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


class Comparison:
    """The contestants of a run, gathered one by one, within what they may cost.

    Args:
        observer: called with an event per candidate and per test.

    Attributes:
        metric: what is compared, larger is better.
        contestants: by key.
        left_out: what could not be compared, or would cost too much -> why.
        best_by_hand: the key of the hand-written prompt that did best on validation rows.
    """

    def __init__(self, backbone: Backbone, task: Task, run: Run, observer: Observer) -> None:
        assert run.test is not None
        self.backbone, self.task, self.run = backbone, task, run
        self.metric = task.spec.task_kind.headline
        self.test = run.test
        self.tell = observer
        self.contestants: dict[str, Contestant] = {}
        self.left_out: dict[str, str] = {}
        self.best_by_hand: str | None = None
        self._same: dict[str, bool] = {}
        self._tokens, self._cpu = backbone.counts["tokens"], time.process_time()

    @property
    def tokens(self) -> int:
        """How many tokens it has run forward so far, those alongside the test counted in."""
        beside = self.run.alongside
        spent = self.backbone.counts["tokens"] - self._tokens
        return spent + (0 if beside is None else beside.tokens)

    @property
    def _cpu_seconds(self) -> float:
        beside = self.run.alongside
        return time.process_time() - self._cpu + (0.0 if beside is None else beside.cpu_seconds)

    @property
    def tokens_left(self) -> int:
        """How many more it may run forward, so that it costs less than the training."""
        return max(0, round(COMPARISON_SHARE * self.run.tokens) - self.tokens)

    def affords(self, what: str, tokens: float) -> bool:
        """Whether so many tokens are left; otherwise it is noted that this is not compared."""
        if tokens <= self.tokens_left:
            return True
        self.leave_out(what, TOO_DEAR)
        return False

    def answered(self, spec: TaskSpec) -> Evaluation | None:
        """What the template alone answered alongside the test, if this asks just the same."""
        beside = self.run.alongside
        if beside is None or beside.template is None:
            return None
        key = spec.model_dump_json()
        if key not in self._same:
            self._same[key] = self._asks_the_same(spec)
        return beside.template if self._same[key] else None

    def _asks_the_same(self, spec: TaskSpec) -> bool:
        """Whether the backbone reads the same tokens of every test row, up to the first other."""
        own, tokenizer = self.task.spec, self.backbone.tokenizer
        words = [each.label_words(tokenizer).words for each in (spec, own)]
        return (
            words[0] == words[1]
            and spec.normalize == own.normalize
            and all(
                spec.encode(record, tokenizer).context == own.encode(record, tokenizer).context
                for record in self.task.test
            )
        )

    def begin(self, name: str, variant: str = "plain") -> None:
        """Tell that a contestant answers the test rows now."""
        self.tell({"event": "baseline", "name": name, "variant": variant})

    def test_progress(self) -> Callable[[int], None]:
        """A callback that takes how many more test rows a contestant has answered."""
        return rows_done(self.tell, "testing", len(self.task.test))

    def add(self, contestant: Contestant) -> None:
        """Take a contestant in."""
        self.contestants[contestant.key] = contestant

    def leave_out(self, what: str, why: str) -> None:
        """Note what is not compared."""
        self.left_out[what] = why

    @contextmanager
    def optional(self, what: str) -> Iterator[None]:
        """Leave out, with a note, what cannot be compared: the training is done and kept."""
        try:
            yield
        except Interrupted:
            raise
        except CuecardError as error:
            got = "" if error.got is None else f": {error.got}"
            self.leave_out(what, f"{error.what}{got}")

    def proof(self, columns: tuple[str, ...]) -> Proof:
        """The table, the notes and the report."""
        ordered = sorted(self.contestants.values(), key=_place)
        gains = {c.key: gain(self.test, c.found, metric=self.metric) for c in ordered}
        # Whoever does best on these very rows: what a reader of the table sets the prompt beside.
        scores = {c.key: float(c.found.metrics[self.metric]) for c in ordered}
        best = max(ordered, key=lambda c: scores[c.key], default=None)
        report = self._report(ordered, gains, best)
        notes = self._notes(report, ordered, gains, best)
        rows = (*map(self._row, ordered), self._row(self._prompt()))
        return Proof(rows=rows, columns=columns, notes=notes, report=report)

    def _prompt(self) -> Contestant:
        run, spec = self.run, self.task.spec
        name = (
            f"{TRAINED}{run.prompt.manifest.method}{' with a head' if spec.mode == 'head' else ''}"
        )
        return Contestant("prompt", name, "", self.test, run.prompt.nbytes, run.cpu_seconds)

    def _row(self, contestant: Contestant) -> ReportRow:
        found = contestant.found
        return ReportRow(
            prompt=contestant.name,
            score=float(found.metrics[self.metric]),
            second=float(found.metrics[self.task.spec.task_kind.second]),
            interval=found.ci95.get(self.metric),
            prompt_tokens=found.tokens_per_request,
            bytes_per_task=contestant.nbytes,
            fit_cpu_seconds=contestant.cpu_seconds,
            seconds=found.seconds or None,
        )

    def _report(
        self, ordered: list[Contestant], gains: Mapping[str, Gain], best: Contestant | None
    ) -> dict[str, Any]:
        report = run_facts(self.backbone, self.task, self.run) | {
            "metric": self.metric,
            "prompt": self._facts(self._prompt())
            | {"confusion": self.test.metrics.get("confusion")},
            "left_out": dict(self.left_out),
            "comparison": {
                "tokens": self.tokens,
                "training_tokens": self.run.tokens,
                "cpu_seconds": self._cpu_seconds,
            },
        }
        if best is not None:
            report["best"], report["gain_best"] = best.key, gains[best.key].value
            report["gain_best_ci95"] = gains[best.key].ci95
        for contestant in ordered:
            key = contestant.key
            name = _GAINS.get(key, f"gain_{key}")
            report[key] = self._facts(contestant)
            report[name], report[f"{name}_ci95"] = gains[key].value, gains[key].ci95
        if self.best_by_hand is not None:
            report["best_by_hand"] = self.best_by_hand
            report["gain_best_by_hand"] = gains[self.best_by_hand].value
            report["gain_best_by_hand_ci95"] = gains[self.best_by_hand].ci95
        return report

    def _facts(self, contestant: Contestant) -> dict[str, Any]:
        return (
            {"name": contestant.name, **numbers(contestant.found, self.metric)}
            | {"bytes": contestant.nbytes, "fit_cpu_seconds": contestant.cpu_seconds}
            | dict(contestant.facts)
        )

    def _notes(
        self,
        report: Mapping[str, Any],
        ordered: list[Contestant],
        gains: Mapping[str, Gain],
        best: Contestant | None,
    ) -> tuple[str, ...]:
        in_what = _IN_WHAT.get(self.metric, "")
        told = []
        if best is not None:
            told.append((f"the best of all others, {best.against}", gains[best.key]))
        told += [(c.against, gains[c.key]) for c in ordered if c is not best]
        notes = [rows_note(report)]
        notes += [
            f"Gain{in_what} over {name}: {found.value:+.3f}, {paired(found.ci95)}."
            for name, found in told
        ]
        notes += [f"Left out: {what} ({why})." for what, why in self.left_out.items()]
        notes += training_notes(report, self.task)
        counts = trained_text(report["trained_parameters"], report["parameters"])
        notes.append(f"Parameters: {counts}.")
        if ordered:
            spent = report["comparison"]["cpu_seconds"]
            notes.append(f"The comparison took {seconds(spent)} CPU-seconds.")
        if report["alarm"]:
            notes.append(f"Warning: {report['alarm']}.")
        return tuple(notes)


def _place(contestant: Contestant) -> int:
    """A contestant's row in the table; what a kind adds of its own comes with the baselines."""
    key = contestant.key
    return _ORDER.index(key if key in _ORDER else "baseline")


_IN_WHAT = {"iou": " in IoU", "rouge_l": " in ROUGE-L", "r2": " in R2", "recall@1": " in recall@1"}


def test_tokens(comparison: Comparison, task: Task) -> int:
    """About how many tokens one pass over the test rows runs forward."""
    spec, tokenizer = task.spec, comparison.backbone.tokenizer
    contexts = sum(len(spec.encode(record, tokenizer).context) for record in task.test)
    if spec.mode == "text":
        return contexts + spec.max_new_tokens * len(task.test)
    if spec.mode == "options":
        options = [spec.option_words(record, tokenizer).asked for record in task.test]
        return contexts + sum(len(option) - 1 for some in options for option in some)
    words = spec.continuations(tokenizer)
    return contexts + sum(len(word) - 1 for word in words) * len(task.test)
