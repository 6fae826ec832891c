"""A contest's table: score, cost, weights, forgetting and switching of each contestant.

It is made of the contest's facts as `compare.json` has them, so that whoever reads that file can
show the same table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cuecard.comparison.contest.result import MANY
from cuecard.evaluation.report import interval_text
from cuecard.types import Interval

Facts = Mapping[str, Any]
"""A contest or a contestant as JSON knows it, see `ContestResult.facts`."""

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""A table's headings and rows."""

_MIB = 2**20
_NOTHING = "-"
_SCORES = 4  # columns of the table that are about scores, the first one's names counted in


def columns(contest: Facts, score: str) -> tuple[str, ...]:
    """The headings of the table.

    Args:
        score: what the metric is called.
    """
    priced = any(each["cost"] is not None for each in contest["contestants"].values())
    return (
        "contestant",
        score,
        "95% interval",
        "over the best in words",
        "parameters",
        "bytes/task",
        "fit CPU-s",
        "peak MiB",
        *(("cost",) if priced else ()),
        "weights",
        "forgetting (nats/token)",
        *(f"on {name}" for name in _other_names(contest)),
        "switch (ms)",
        f"{MANY} tasks (MiB)",
    )


def cells(contest: Facts) -> list[tuple[str, ...]]:
    """The table's rows as text, in the contestants' order."""
    others = _other_names(contest)
    return [
        _cells(each, others, is_reference=name == contest["reference"])
        for name, each in contest["contestants"].items()
    ]


def scores_and_costs(contest: Facts, score: str) -> tuple[Table, Table]:
    """The table in two halves, for where it is too wide: each with the contestants' names."""
    heading, rows = columns(contest, score), cells(contest)
    scores = (heading[:_SCORES], [row[:_SCORES] for row in rows])
    costs = [(row[0], *row[_SCORES:]) for row in rows]
    return scores, ((heading[0], *heading[_SCORES:]), costs)


def interval_in(values: Sequence[float] | None) -> Interval | None:
    """An interval as JSON has it."""
    return None if values is None else Interval(*values)


def difference(value: float, interval: Interval | None) -> str:
    """A difference with its interval, if it has one."""
    within = "" if interval is None else f" ({interval.low:+.3f} to {interval.high:+.3f})"
    return f"{value:+.3f}{within}"


def _cells(each: Facts, others: Sequence[str], *, is_reference: bool) -> tuple[str, ...]:
    interval, peak, cost = interval_in(each["ci95"]), each["peak_bytes"], each["cost"]
    over = "the best in words" if is_reference else _NOTHING
    if each["gain_over_reference"] is not None:
        over = difference(
            each["gain_over_reference"], interval_in(each["gain_over_reference_ci95"])
        )
    return (
        each["title"],
        f"{each['score']:.3f}",
        _NOTHING if interval is None else interval_text(interval),
        over,
        f"{each['parameters']:,}",
        f"{each['bytes_per_task']:,}",
        f"{each['cpu_seconds']:,.1f}",
        _NOTHING if peak is None else f"{peak / _MIB:,.0f}",
        *(() if cost is None else (f"{cost:.4f}",)),
        _weights(each["weights"]),
        _forgetting(each["forgetting"]),
        *_others(each, others),
        _switch(each["switch"]),
        f"{each[f'bytes_of_{MANY}_tasks'] / _MIB:,.1f}",
    )


def _weights(found: Facts | None) -> str:
    if found is None:
        return _NOTHING
    changed = found["during"] != found["before"]
    return "changed" if changed else f"same ({found['during'][:8]})"


def _forgetting(found: Facts | None) -> str:
    if found is None:
        return _NOTHING
    return difference(found["on"] - found["off"], interval_in(found["ci95"]))


def _other_names(contest: Facts) -> list[str]:
    """The other tasks that some of them were scored on."""
    found = (other["name"] for each in contest["contestants"].values() for other in _of(each))
    return list(dict.fromkeys(found))


def _of(each: Facts) -> Sequence[Facts]:
    """A contestant's scores on other tasks; reports of earlier versions have none."""
    found: Sequence[Facts] = each.get("other_tasks") or ()
    return found


def _others(each: Facts, names: Sequence[str]) -> list[str]:
    """The score on each other task, less that of the frozen model."""
    found = {one["name"]: one for one in _of(each)}
    return [
        difference(one["on"] - one["off"], interval_in(one["ci95"]))
        if (one := found.get(name)) is not None
        else _NOTHING
        for name in names
    ]


def _switch(found: Facts | None) -> str:
    if found is None:
        return _NOTHING
    return "none" if found["mixes"] else f"{1e3 * (found['seconds'] + found['back_seconds']):,.0f}"
