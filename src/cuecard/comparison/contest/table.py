"""A contest's table: score, cost, weights, forgetting and switching of each contender."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cuecard.comparison.contest.other_tasks import OtherScore
from cuecard.comparison.contest.runner import Ranked
from cuecard.comparison.contest.standing import Standing
from cuecard.comparison.run_facts import rows_note
from cuecard.evaluation.evaluate import Gain, gain
from cuecard.evaluation.report import interval_text
from cuecard.tasks import Task
from cuecard.types import Interval
from cuecard.validation_text import counted

MANY = 20
"""Tasks in one server, in the column that says what they take."""

_MIB = 2**20
_NOTHING = "-"
_SCORES = 4  # columns of the table that are about scores, the first one's names counted in

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""A table's headings and rows."""


@dataclass(frozen=True)
class ContestResult:
    """A contest that was run.

    Attributes:
        task: with the rows that it was run on.
        ranked: in the contenders' order.
        price: of an hour of the machine; None for no column of money.
    """

    task: Task
    ranked: tuple[Ranked, ...]
    price: float | None = None
    _gains: dict[tuple[str, str], Gain] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def rows(self) -> int:
        """Training rows."""
        return len(self.task.train)

    @property
    def metric(self) -> str:
        """What is compared, larger is better."""
        return self.task.spec.task_kind.headline

    @property
    def tested(self) -> list[Ranked]:
        """Those with a result."""
        return [each for each in self.ranked if each.test is not None]

    @property
    def reference(self) -> Ranked | None:
        """Of those that ask the frozen backbone in words the best on validation rows."""
        asked = [each for each in self.tested if each.standing.untrained]
        return max(asked, key=lambda each: each.standing.score or 0.0, default=None)

    @property
    def others(self) -> list[str]:
        """The other tasks that some of them were scored on."""
        return list(dict.fromkeys(o.name for each in self.tested for o in each.standing.others))

    def gain_over(self, better: Ranked, worse: Ranked) -> Gain:
        """The paired difference on the test rows, computed once: F1's takes a bootstrap."""
        pair = better.standing.name, worse.standing.name
        if pair not in self._gains:
            assert better.test is not None
            assert worse.test is not None
            self._gains[pair] = gain(better.test, worse.test, metric=self.metric)
        return self._gains[pair]

    def cost(self, standing: Standing) -> float | None:
        """Money, by the hours of the machine."""
        return None if self.price is None else self.price * standing.seconds / 3600

    def many_bytes(self, standing: Standing) -> int:
        """Memory of a server with so many tasks: what they share, and each one's own."""
        return standing.shared_bytes + MANY * standing.nbytes

    def facts(self) -> dict[str, Any]:
        """The contest as JSON knows it."""
        reference = self.reference
        return {
            "rows": self.rows,
            "train_rows": self.rows,
            "validation_rows": len(self.task.validation),
            "test_rows": len(self.task.test),
            "data_hash": self.task.report.data_hash,
            "reference": None if reference is None else reference.standing.name,
            "contestants": {each.standing.name: self._facts_of(each) for each in self.tested},
            "left_out": {
                each.standing.name: each.standing.left_out
                for each in self.ranked
                if each.test is None
            },
            "pairs": self._pairs(),
        }

    def _facts_of(self, each: Ranked) -> dict[str, Any]:
        standing, test, reference = each.standing, each.test, self.reference
        assert test is not None
        over = None if reference in (None, each) else self.gain_over(each, reference)
        return {
            "title": standing.title,
            "score": float(test.metrics[self.metric]),
            "ci95": test.ci95.get(self.metric),
            "metrics": {k: v for k, v in test.metrics.items() if k != "confusion"},
            "gain_over_reference": None if over is None else over.value,
            "gain_over_reference_ci95": None if over is None else over.ci95,
            "validation": standing.score,
            "parameters": standing.parameters,
            "bytes_per_task": standing.nbytes,
            "cpu_seconds": standing.cpu_seconds,
            "seconds": standing.seconds,
            "peak_bytes": standing.peak_bytes,
            "cost": self.cost(standing),
            "weights": standing.weights,
            "weights_changed": standing.weights and standing.weights.changed,
            "forgetting": standing.forgetting,
            "other_tasks": standing.others,
            "switch": standing.switch,
            f"bytes_of_{MANY}_tasks": self.many_bytes(standing),
            "prompt_tokens": test.tokens_per_request,
            "test_seconds": test.seconds,
            "facts": standing.facts,
        }

    def _pairs(self) -> list[dict[str, Any]]:
        """Every two of them, the later one minus the earlier one."""
        found = []
        for place, worse in enumerate(self.tested):
            for better in self.tested[place + 1 :]:
                one = self.gain_over(better, worse)
                names = {"a": better.standing.name, "b": worse.standing.name}
                found.append({**names, "a_minus_b": one.value, "ci95": one.ci95})
        return found


def columns(contest: ContestResult) -> tuple[str, ...]:
    """The headings of the table."""
    money = () if contest.price is None else ("cost",)
    return (
        "contestant",
        contest.task.spec.task_kind.headings[0],
        "95% interval",
        "over the best in words",
        "parameters",
        "bytes/task",
        "fit CPU-s",
        "peak MiB",
        *money,
        "weights",
        "forgetting (nats/token)",
        *(f"on {name}" for name in contest.others),
        "switch (ms)",
        f"{MANY} tasks (MiB)",
    )


def cells(contest: ContestResult) -> list[tuple[str, ...]]:
    """The table's rows as text, in the contenders' order."""
    return [_cells(contest, each) for each in contest.tested]


def scores_and_costs(contest: ContestResult) -> tuple[Table, Table]:
    """The table in two halves, for where it is too wide: each with the contenders' names."""
    heading, rows = columns(contest), cells(contest)
    scores = (heading[:_SCORES], [row[:_SCORES] for row in rows])
    costs = [(row[0], *row[_SCORES:]) for row in rows]
    return scores, ((heading[0], *heading[_SCORES:]), costs)


def _cells(contest: ContestResult, each: Ranked) -> tuple[str, ...]:
    standing, test, reference = each.standing, each.test, contest.reference
    assert test is not None
    interval = test.ci95.get(contest.metric)
    over = _NOTHING
    if reference is each:
        over = "the best in words"
    elif reference is not None:
        found = contest.gain_over(each, reference)
        over = difference(found.value, found.ci95)
    cost = contest.cost(standing)
    peak = standing.peak_bytes
    return (
        standing.title,
        f"{float(test.metrics[contest.metric]):.3f}",
        _NOTHING if interval is None else interval_text(interval),
        over,
        f"{standing.parameters:,}",
        f"{standing.nbytes:,}",
        f"{standing.cpu_seconds:,.1f}",
        _NOTHING if peak is None else f"{peak / _MIB:,.0f}",
        *(() if cost is None else (f"{cost:.4f}",)),
        _weights(standing),
        _forgetting(standing),
        *_others(standing, contest.others),
        _switch(standing),
        f"{contest.many_bytes(standing) / _MIB:,.1f}",
    )


def difference(value: float, interval: Interval | None) -> str:
    """A difference with its interval, if it has one."""
    within = "" if interval is None else f" ({interval.low:+.3f} to {interval.high:+.3f})"
    return f"{value:+.3f}{within}"


def _weights(standing: Standing) -> str:
    if standing.weights is None:
        return _NOTHING
    return "changed" if standing.weights.changed else f"same ({standing.weights.during[:8]})"


def _forgetting(standing: Standing) -> str:
    found = standing.forgetting
    return _NOTHING if found is None else difference(found.more, found.ci95)


def _others(standing: Standing, names: Sequence[str]) -> list[str]:
    """The score on each other task, less that of the frozen model."""
    found = {each.name: difference(each.more, each.ci95) for each in standing.others}
    return [found.get(name, _NOTHING) for name in names]


def _switch(standing: Standing) -> str:
    if standing.switch is None:
        return _NOTHING
    if standing.switch.mixes:
        return "none"
    return f"{1e3 * (standing.switch.seconds + standing.switch.back_seconds):,.0f}"


def notes(contests: Sequence[ContestResult], facts: Mapping[str, Any]) -> tuple[str, ...]:
    """What the table says, as sentences.

    Args:
        facts: the report's.
    """
    last = contests[-1]
    found = [
        rows_note({**facts, **facts["contests"][-1], "data": last.task.report}),
        f"What is trained had {counted(facts['rates'], 'learning rate')} to try, with "
        f"{counted(facts['training']['steps'], 'step')} each; the lowest validation loss decided. "
        "CPU-seconds are of all of them, and of choosing.",
    ]
    reference = last.reference
    if reference is not None:
        text = f"The best in words, on validation rows: {reference.standing.title}."
        found += [text, *_verdicts(last, reference)]
    general = facts["general"]
    if general["source"] is None:
        found.append(f"Forgetting was not measured: {general['why_not']}.")
    elif general["loss"] is not None:
        found.append(
            f"Forgetting: what the loss on {general['source']} ({general['texts']} texts) grows by "
            f"with the contestant on; with it off the weights are the same bytes again, and the "
            f"loss is {general['loss']:.3f} nats per token."
        )
    found += [
        f"On {other.name}, another task ({counted(other.rows, 'row')}), the frozen model scores "
        f"{other.off:.3f}; the column is what that changes by with the contestant on."
        for other in _others_of(last)
    ]
    found.append(
        "Switch: to the task and back to the frozen backbone; none where rows of several tasks "
        f"share a batch. The memory of {MANY} tasks is what they share, such as the backbone, and "
        "each one's own."
    )
    found += [
        f"Left out: {each.standing.title} ({each.standing.left_out})."
        for each in last.ranked
        if each.test is None
    ]
    alarms = [(each.standing.title, each.standing.facts.get("alarm")) for each in last.tested]
    return (*found, *(f"Warning, {title}: {alarm}." for title, alarm in alarms if alarm))


def _others_of(contest: ContestResult) -> tuple[OtherScore, ...]:
    return next((each.standing.others for each in contest.tested if each.standing.others), ())


def _verdicts(contest: ContestResult, reference: Ranked) -> list[str]:
    """Which contenders are clearly better or worse than the best in words, and undecided."""
    kinds: dict[str, list[str]] = {"better": [], "worse": [], "": []}
    for each in contest.tested:
        if each is reference:
            continue
        interval = contest.gain_over(each, reference).ci95
        kind = "better" if interval.low > 0 else "worse" if interval.high < 0 else ""
        kinds[kind].append(each.standing.title)
    said = {
        "better": "Clearly better than it",
        "worse": "Clearly worse than it",
        "": "Not told apart from it by these rows",
    }
    return [f"{said[kind]}: {', '.join(names)}." for kind, names in kinds.items() if names]
