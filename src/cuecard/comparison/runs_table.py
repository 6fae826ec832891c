"""Several finished runs in one table: those that differ in their seed alone share a row."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cuecard.comparison.comparison import TRAINED, Proof
from cuecard.comparison.table_files import Value
from cuecard.errors import DataError
from cuecard.evaluation.report import ReportRow, interval_text
from cuecard.evaluation.seeds import ENTRY
from cuecard.metrics.seeds import rows_interval_of, seeds_interval
from cuecard.types import Interval

_NAMES = ("runs", "prompt", "seeds")


@dataclass(frozen=True)
class TabledRun:
    """A finished run.

    Attributes:
        folder: its folder.
        proof: its report.
        recipe: its settings by dotted names, without the seed and what changes no result.
    """

    folder: Path
    proof: Proof
    recipe: Mapping[str, Any]

    @property
    def seed(self) -> int:
        """Of its training."""
        return int(self.proof.report["seed"])

    @property
    def data(self) -> Any:
        """The digest of its rows."""
        return dict(self.proof.report["data"]).get("data_hash")


@dataclass(frozen=True, slots=True)
class MeanRow:
    """What one prompt scored in the runs of one recipe.

    Attributes:
        runs: the first one's folder.
        prompt: what reports call it.
        seeds: in how many runs it is.
        score, second: the means of the two metrics; `second` is the kept seed's, where one run has
            trained several.
        deviation: the score's standard deviation between runs; None for one run.
        interval: 95%, over rows and, with several runs, over seeds; None where a run has none.
        prompt_tokens, bytes_per_task, fit_cpu_seconds: means.
    """

    runs: str
    prompt: str
    seeds: int
    score: float
    deviation: float | None
    interval: Interval | None
    second: float
    prompt_tokens: float
    bytes_per_task: float
    fit_cpu_seconds: float | None

    def values(self) -> tuple[Value, ...]:
        """Whole numbers, as `RunsTable.names` calls them."""
        ends = (None, None) if self.interval is None else (self.interval.low, self.interval.high)
        return (
            self.runs,
            self.prompt,
            self.seeds,
            self.score,
            self.deviation,
            *ends,
            self.second,
            self.prompt_tokens,
            self.bytes_per_task,
            self.fit_cpu_seconds,
        )

    def cells(self) -> tuple[str, ...]:
        """The row as text, as `RunsTable.columns` calls it."""
        return (
            self.runs,
            self.prompt,
            str(self.seeds),
            f"{self.score:.3f}",
            "-" if self.deviation is None else f"{self.deviation:.3f}",
            "-" if self.interval is None else interval_text(self.interval),
            f"{self.second:.3f}",
            f"{self.prompt_tokens:,.0f}",
            f"{self.bytes_per_task:,.0f}",
            "-" if self.fit_cpu_seconds is None else f"{self.fit_cpu_seconds:,.1f}",
        )


@dataclass(frozen=True)
class RunsTable:
    """The table, recipe by recipe, in the order of the runs.

    Attributes:
        headings: what the kind of task calls its two metrics.
    """

    headings: tuple[str, str]
    rows: tuple[MeanRow, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """For people."""
        first, second = self.headings
        costs = ("prompt tokens/request", "bytes/task", "fit CPU-s")
        return (*_NAMES, first, "sd", "95% interval", second, *costs)

    @property
    def names(self) -> tuple[str, ...]:
        """For machines."""
        first, second = self.headings
        costs = ("prompt_tokens", "bytes_per_task", "fit_cpu_seconds")
        return (*_NAMES, first, "sd", "low", "high", second, *costs)


def runs_table(runs: Sequence[TabledRun]) -> RunsTable:
    """Means and deviations over the runs of each recipe.

    Raises:
        DataError: runs of kinds with other metrics, or two of the same recipe and seed.
    """
    first, *others = runs
    headings = _headings(first)
    for run in others:
        if _headings(run) != headings:
            raise DataError(
                "runs of tasks with different metrics are not one table",
                where=str(run.folder),
                got=", ".join(_headings(run)),
                expected=", ".join(headings),
            )
    groups: dict[str, list[TabledRun]] = defaultdict(list)
    for run in runs:
        groups[repr((run.data, run.recipe))].append(run)
    return RunsTable(headings, tuple(row for group in groups.values() for row in _means(group)))


def _headings(run: TabledRun) -> tuple[str, str]:
    _, first, second, *_ = run.proof.columns
    return first, second


def _means(group: Sequence[TabledRun]) -> list[MeanRow]:
    seen: dict[int, Path] = {}
    for run in group:
        if run.seed in seen:
            raise DataError(
                "two runs of the same recipe and seed are one run",
                where=str(run.folder),
                got=f"seed {run.seed}, as {seen[run.seed]}",
                expected="another seed",
            )
        seen[run.seed] = run.folder
    found: dict[str, list[ReportRow]] = defaultdict(list)
    for run in group:
        for row in run.proof.rows:
            found[row.prompt].append(row)
    means = [_mean(str(group[0].folder), rows) for rows in found.values()]
    entry = group[0].proof.report.get(ENTRY)
    if len(group) > 1 or not entry or not entry["scores"]:
        return means
    return [_of_entry(row, entry) if row.prompt.startswith(TRAINED) else row for row in means]


def _of_entry(row: MeanRow, entry: Mapping[str, Any]) -> MeanRow:
    """The row of a run that has trained several seeds itself."""
    ends = entry["ci95"][entry["metric"]]
    return replace(
        row,
        seeds=len(entry["seeds"]),
        score=entry[entry["metric"]],
        deviation=entry["sd"],
        interval=None if ends is None else Interval(*ends),
    )


def _mean(runs: str, rows: Sequence[ReportRow]) -> MeanRow:
    scores = [row.score for row in rows]
    fits = [row.fit_cpu_seconds for row in rows if row.fit_cpu_seconds is not None]
    return MeanRow(
        runs,
        rows[0].prompt,
        len(rows),
        statistics.fmean(scores),
        statistics.stdev(scores) if len(scores) > 1 else None,
        _interval(scores, [row.interval for row in rows]),
        statistics.fmean(row.second for row in rows),
        statistics.fmean(row.prompt_tokens for row in rows),
        statistics.fmean(row.bytes_per_task for row in rows),
        statistics.fmean(fits) if fits else None,
    )


def _interval(scores: Sequence[float], intervals: Sequence[Interval | None]) -> Interval | None:
    known = [one for one in intervals if one is not None]
    if len(known) < len(scores):
        return None
    if len(scores) == 1:
        return known[0]
    # R2 has no lower limit.
    least = min(0.0, *(one.low for one in known))
    return seeds_interval(scores, rows_interval_of(scores, known), least=least)
