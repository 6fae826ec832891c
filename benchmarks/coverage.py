"""How often the 95% intervals hold the true value: `python -m benchmarks.coverage`.

Exact for proportions and their paired differences (every outcome with its probability, but for 500
paired rows), simulated for the rest. Writes benchmarks/results/coverage.json; takes a minute of one
core.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, multinomial

from benchmarks.places import RESULTS
from cuecard.metrics.intervals import (
    mean_interval,
    paired_interval,
    paired_proportions_interval,
    proportion_interval,
)
from cuecard.metrics.seeds import rows_interval, seeds_interval
from cuecard.metrics.statistics import (
    Statistic,
    macro_f1,
    mean_error,
    micro_f1,
    pearson,
    r_squared,
    rmse,
    spearman,
)
from cuecard.types import Interval

Floats = NDArray[np.float64]

RESULT = RESULTS / "coverage.json"
ROWS = (20, 50, 500)
SHARES = (0.5, 0.85, 0.98)
UNEVEN = (0.8, 0.15, 0.05)
"""How common the labels are."""


def proportions(share: float, rows: int) -> float:
    """The exact coverage of a proportion's interval."""
    outcomes = np.arange(rows + 1)
    weights = binom.pmf(outcomes, rows, share)
    held = [_holds(proportion_interval(int(x), rows), share) for x in outcomes]
    return float(weights @ np.asarray(held, dtype=np.float64))


def pairs(first: float, second: float, correlation: float, rows: int) -> float:
    """The exact coverage of a paired difference of proportions; outcomes under 1e-9 left out."""
    both = first * second
    both += correlation * float(np.sqrt(first * (1 - first) * second * (1 - second)))
    cells = (first - both, second - both, 1.0 - first - second + 2 * both)
    held = total = 0.0
    reach = [int(binom.isf(1e-7, rows, cell)) for cell in cells[:2]]
    for up in range(min(rows, reach[0]) + 1):
        down = np.arange(min(rows - up, reach[1]) + 1)
        counts = np.stack([np.full_like(down, up), down, rows - up - down], 1)
        weights = multinomial.pmf(counts, rows, cells)
        for one, weight in zip(down[weights > 1e-9], weights[weights > 1e-9], strict=True):
            found = paired_proportions_interval(up, int(one), rows)
            total += float(weight)
            held += float(weight) * _holds(found, first - second)
    return held / total


def f1(
    common: Sequence[float],
    right: float,
    rows: int,
    *,
    other: float | None = None,
    micro: bool = False,
    trials: int = 1000,
    draws: int = 1000,
    seed: int = 0,
) -> float:
    """The simulated coverage of F1 over labels that are `common`, or of its paired difference.

    Args:
        right: the share of right answers; wrong ones are even over the other labels.
        other: of a second system, right on its own; None for the interval of one.
        micro: several labels a row instead of one: each holds on its own, said rightly or not.
    """
    rng = np.random.default_rng(seed)
    rates = (right,) if other is None else (right, other)
    make = _several if micro else _single
    average = micro_f1 if micro else macro_f1
    large = [average(*side) for side in make(rng, common, rates, 400_000)]
    true = large[0].value() - (large[1].value() if len(large) > 1 else 0.0)
    held = 0
    for trial in range(trials):
        sides = [average(*side) for side in make(rng, common, rates, rows)]
        found = (
            sides[0].interval(trial, draws)
            if other is None
            else sides[0].gain(sides[1], trial, draws)
        )
        held += _holds(found, true)
    return held / trials


def means(kind: str, rows: int, *, trials: int = 4000, seed: int = 0) -> float:
    """The simulated coverage of a mean of shares ("even", "edge"), or of a "paired" difference."""
    rng = np.random.default_rng(seed)

    def drawn(count: int) -> Floats:
        if kind == "edge":  # nearly all are exactly 1
            return np.where(rng.random(count) < 0.95, 1.0, rng.random(count))
        return np.clip(rng.normal(0.6, 0.5, count), 0.0, 1.0)

    true = 0.0 if kind == "paired" else float(drawn(1_000_000).mean())
    held = 0
    for _ in range(trials):
        if kind == "paired":
            shared = rng.normal(0.6, 0.5, rows)
            one, two = (np.clip(shared + rng.normal(0, 0.2, rows), 0, 1) for _ in range(2))
            held += _holds(paired_interval(one, two), true)
        else:
            held += _holds(mean_interval(drawn(rows)), true)
    return held / trials


NUMBERS: dict[str, Callable[[Floats, Floats], Statistic]] = {
    "mae": lambda gold, given: mean_error(np.abs(gold - given)),
    "rmse": rmse,
    "r2": r_squared,
    "pearson": pearson,
    "spearman": spearman,
}


def numbers(
    name: str, rows: int, *, paired: bool = False, trials: int = 2000, seed: int = 0
) -> float:
    """The simulated coverage of a regression's metric: normal targets, answers correlated 0.8."""
    rng = np.random.default_rng(seed)
    make = NUMBERS[name]

    def drawn(count: int) -> list[Statistic]:
        gold = rng.normal(size=count)
        return [make(gold, 0.8 * gold + rng.normal(0, 0.6, count)) for _ in range(1 + paired)]

    true = 0.0 if paired else drawn(1_000_000)[0].value()
    held = 0
    for _ in range(trials):
        one, *more = drawn(rows)
        found = one.gain(more[0], 0) if paired else one.interval(0)
        held += found is not None and _holds(found, true)
    return held / trials


def seeds(
    count: int, spread: float, rows: int, *, trials: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The simulated coverage of a mean accuracy over seeds and rows, and that of one seed's own.

    An answer is right by the logistic function of 1, what its seed can do, how easy its row is for
    all seeds (normal, 1) and for this one (normal, 0.5).

    Args:
        count: seeds, K.
        spread: the standard deviation of what seeds can do: 0.5 is about 8 points of accuracy.
    """
    rng = np.random.default_rng(seed)
    every = 1.0 + rng.normal(0.0, np.sqrt(spread**2 + 1.25), 1_000_000)
    true = float((1.0 / (1.0 + np.exp(-every))).mean())
    held = alone = 0
    for _ in range(trials):
        odds = 1.0 + rng.normal(0.0, spread, (count, 1)) + rng.normal(0.0, 1.0, (1, rows))
        odds += rng.normal(0.0, 0.5, (count, rows))
        right = (rng.random((1, rows)) < 1.0 / (1.0 + np.exp(-odds))).astype(np.float64)
        found = seeds_interval(right.mean(1).tolist(), rows_interval([*right]))
        held += _holds(found, true)
        alone += _holds(mean_interval(right[0]), true)
    return held / trials, alone / trials


def table() -> dict[str, Any]:
    """Every coverage that the documentation gives."""
    near = ((0.5, 0.5), (0.85, 0.85), (0.98, 0.98), (0.85, 0.75), (0.98, 0.9))
    return {
        "proportion": {f"{p:g}": {n: round(proportions(p, n), 3) for n in ROWS} for p in SHARES},
        "paired_proportions": {
            f"{a:g} and {b:g}, correlation {r:g}": {n: round(pairs(a, b, r, n), 3) for n in ROWS}
            for a, b in near
            for r in (0.0, 0.4)
        },
        "macro_f1": {f"{p:g}": {n: f1(UNEVEN, p, n) for n in ROWS} for p in SHARES},
        "macro_f1_paired": {
            f"{a:g} and {b:g}": {n: f1(UNEVEN, a, n, other=b) for n in ROWS}
            for a, b in ((0.85, 0.85), (0.98, 0.9))
        },
        "micro_f1": {
            f"{p:g}": {n: f1((0.4, 0.2, 0.1), p, n, micro=True) for n in ROWS} for p in (0.85, 0.98)
        },
        "mean": {k: {n: round(means(k, n), 3) for n in ROWS} for k in ("even", "edge", "paired")},
        "numbers": {k: {n: round(numbers(k, n), 3) for n in ROWS} for k in NUMBERS},
        "numbers_paired": {
            k: {n: round(numbers(k, n, paired=True), 3) for n in ROWS} for k in ("mae", "r2")
        },
        "seeds": seed_table(),
    }


def seed_table() -> dict[str, Any]:
    """Coverages of 2, 3 and 5 seeds that do not differ, or do, and of one seed of them."""
    found: dict[str, Any] = {}
    for count in (2, 3, 5):
        for spread in (0.0, 0.5):
            both = {n: seeds(count, spread, n) for n in ROWS}
            found[f"{count}, spread {spread:g}"] = {n: round(x, 3) for n, (x, _) in both.items()}
            found[f"one of {count}, spread {spread:g}"] = {
                n: round(x, 3) for n, (_, x) in both.items()
            }
    return found


def _single(
    rng: np.random.Generator, common: Sequence[float], rates: Sequence[float], rows: int
) -> list[tuple[Floats, Floats, Floats]]:
    """Hits, answers and truths [n, L] of each system, where one label holds."""
    each = np.eye(len(common))
    gold = rng.choice(len(common), size=rows, p=common)
    found = []
    for rate in rates:
        wrong = (gold + rng.integers(1, len(common), rows)) % len(common)
        said = np.where(rng.random(rows) < rate, gold, wrong)
        found.append((each[gold] * each[said], each[said], each[gold]))
    return found


def _several(
    rng: np.random.Generator, common: Sequence[float], rates: Sequence[float], rows: int
) -> list[tuple[Floats, Floats, Floats]]:
    """As `_single`, where each label holds or not."""
    size = (rows, len(common))
    true = rng.random(size) < np.asarray(common)
    sides = [np.where(rng.random(size) < rate, true, ~true) for rate in rates]
    return [
        ((true & said).astype(np.float64), said.astype(np.float64), true.astype(np.float64))
        for said in sides
    ]


def _holds(found: Interval, value: float) -> bool:
    return found.low - 1e-12 <= value <= found.high + 1e-12


if __name__ == "__main__":
    measured = table()
    RESULT.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(measured, indent=1))
