"""Intervals of means over sets, seeds and test rows at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.methods.score import Right, as_right
from cuecard.types import Interval

_RESAMPLES = 4000


def rights_by_set(results: Iterable[Mapping[str, Any]]) -> dict[str, Right]:
    """[S, n] of every set on which a contestant ran with all seeds.

    Args:
        results: of its cells; one that could not run has no "right".
    """
    marks: dict[str, list[str | None]] = {}
    for result in results:
        marks.setdefault(result["set"], []).append(result.get("right"))
    return {
        name: as_right([each for each in rights if each is not None])
        for name, rights in marks.items()
        if None not in rights
    }


def paired(own: Mapping[str, Right], other: Mapping[str, Right]) -> list[Right]:
    """Of the sets of both, by how much one is better with the same seeds on the same rows."""
    return [own[name] - other[name] for name in own if name in other]


def scores(sets: Mapping[str, Right]) -> dict[str, Any]:
    """Each set's mean, and that of all with its interval."""
    rights = [*sets.values()]
    return {
        "sets": {name: float(values.mean()) for name, values in sets.items()},
        "test": mean_over_sets(rights),
        "test_ci95": sets_interval(rights),
    }


def minus(other: str, differences: Sequence[Right]) -> dict[str, Any]:
    """The mean of a contestant's differences to another, and its interval."""
    key = f"minus_{other}"
    return {key: mean_over_sets(differences), f"{key}_ci95": sets_interval(differences)}


def minus_each(name: str, rights: Mapping[str, Mapping[str, Right]]) -> dict[str, Any]:
    """By how much a contestant is better than each other one, with intervals.

    Args:
        rights: every contestant's, by set.
    """
    return {
        other: {"value": mean_over_sets(both), "ci95": sets_interval(both)}
        for other, beside in rights.items()
        if other != name and (both := paired(rights[name], beside))
    }


def mean_over_sets(sets: Sequence[Right]) -> float:
    """The mean of the sets' means."""
    return float(np.mean([values.mean() for values in sets]))


def sets_interval(sets: Sequence[Right]) -> Interval:
    """The 95% bootstrap interval of the mean of sets: seeds and rows of each are drawn again.

    Args:
        sets: per set [S, n] what the model of a seed gets on a row, or by how much it is better
            there than another with the same seed.
    """
    rng = np.random.default_rng(0)
    total = np.zeros(_RESAMPLES)
    for values in sets:
        seeds, rows = (
            rng.multinomial(count, np.full(count, 1 / count), _RESAMPLES) / count
            for count in values.shape
        )
        total += ((seeds @ values) * rows).sum(1)
    low, high = np.quantile(total / len(sets), (0.025, 0.975))
    return Interval(float(low), float(high))
