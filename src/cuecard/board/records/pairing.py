"""Runs beside each other on the rows that all answered, and how each differs from the first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cuecard.evaluation.cases.case import Case
from cuecard.metrics.intervals import mcnemar, paired_interval
from cuecard.settings import flat
from cuecard.types import Interval

Change = Literal["regressed", "fixed", "failing", "unchanged"]
"""Right before and wrong now; wrong and right; wrong both times; right both times."""
_CHANGES: Mapping[tuple[bool, bool], Change] = {
    (True, False): "regressed",
    (False, True): "fixed",
    (False, False): "failing",
    (True, True): "unchanged",
}


@dataclass(frozen=True)
class Joined:
    """A row with the answers of all runs.

    Attributes:
        cases: one for each run, in the runs' order.
        changes: of all but the first run, against it; None where answers are near or far.
        differ: whether the answers are not all the same.
    """

    cases: tuple[Case, ...]
    changes: tuple[Change | None, ...]
    differ: bool


@dataclass(frozen=True)
class Difference:
    """A run against the first one, on the rows that all answered.

    Attributes:
        right, right_first: which share of its answers is right, and of the first run's.
        gain: the difference, with its paired interval.
        counts: rows by how they changed.
        p: McNemar's exact test.
    """

    right: float
    right_first: float
    gain: float
    interval: Interval
    counts: Mapping[Change, int]
    p: float


def joined(runs: Sequence[Sequence[Case]]) -> list[Joined]:
    """The rows that all runs answered, in the first one's order.

    Rows are the same where their inputs and their truth are.
    """
    others = [{case.key: case for case in cases} for cases in runs[1:]]
    found = []
    for case in runs[0]:
        if all(case.key in other for other in others):
            row = (case, *(other[case.key] for other in others))
            changes = tuple(_change(case, each) for each in row[1:])
            found.append(Joined(row, changes, len({each.answer for each in row}) > 1))
    return found


def difference(rows: Sequence[Joined], place: int) -> Difference | None:
    """A run against the first one; None without rows that are right or wrong.

    Args:
        place: of the run, from 1.
    """
    pairs = [(row.cases[place].correct, row.cases[0].correct) for row in rows]
    if not pairs or any(None in pair for pair in pairs):
        return None
    ours, first = ([float(bool(pair[side])) for pair in pairs] for side in (0, 1))
    counts = Counter(change for row in rows if (change := row.changes[place - 1]) is not None)
    right, right_first = sum(ours) / len(pairs), sum(first) / len(pairs)
    return Difference(
        right=right,
        right_first=right_first,
        gain=right - right_first,
        interval=paired_interval(ours, first),
        counts={change: counts[change] for change in _CHANGES.values()},
        p=mcnemar(counts["fixed"], counts["regressed"]),
    )


def different_settings(recipes: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The settings that are not the same in all runs -> each run's value; None for none."""
    plain = [dict(flat(recipe)) for recipe in recipes]
    keys = dict.fromkeys(key for values in plain for key in values)
    rows = {key: [values.get(key) for values in plain] for key in keys}
    return {key: row for key, row in rows.items() if any(value != row[0] for value in row[1:])}


def _change(first: Case, now: Case) -> Change | None:
    if first.correct is None or now.correct is None:
        return None
    return _CHANGES[first.correct, now.correct]
