"""The table of what is learnt within a budget, made from benchmarks/results/learning.json."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from scipy import stats

from benchmarks.markdown import NOT_YET

Cell = Mapping[str, Any]

NAMES = {
    "auto": "`--method auto`",
    "auto-head": "the same with `--head trained`",
    "lora": "LoRA of rank 8 on every linear layer",
    "prompt-tuning": "prompt tuning, 20 vectors",
    "peft": "PEFT, prompt tuning, 20 vectors",
    "tfidf": "TF-IDF, logistic regression",
    "start": "the instruction, nothing trained",
}
_OURS = "auto"


def learning_table(results: Mapping[str, Any]) -> str:
    """Markdown: per metric a table, and what it was measured on."""
    if not results:
        return NOT_YET
    cells: list[Cell] = results["cells"]
    metrics = dict.fromkeys(cell["metric"] for cell in cells)
    tables = [_table([c for c in cells if c["metric"] == name], name) for name in metrics]
    machine, versions = results["machine"], results["versions"]
    measured = f"{results['model']}, one thread of {machine['cpu']}, PEFT {versions['peft']}."
    return "\n\n".join([*tables, measured])


def _table(cells: Sequence[Cell], metric: str) -> str:
    """A line per rows, budget and contestant."""
    sets = sorted({cell["set"] for cell in cells})
    lines = [
        f"| rows | budget, CPU-s | {metric.replace('_', ' ')} | {' | '.join(sets)} | mean "
        "| spread of seeds | auto above it | CPU-s taken | cells |",
        f"|---:|---:|---|{'---:|' * (len(sets) + 5)}",
    ]
    for rows, budget in sorted({(cell["rows"], cell["budget"]) for cell in cells}):
        if not budget:
            continue
        # What no budget changes stands beside every budget.
        here = [c for c in cells if c["rows"] == rows and c["budget"] in (0, budget)]
        ours = [cell for cell in here if cell["contestant"] == _OURS]
        for name in NAMES:
            own = [cell for cell in here if cell["contestant"] == name]
            if own:
                lines.append(f"| {rows:,} | {budget:g} | {NAMES[name]} {_line(own, ours, sets)}")
    return "\n".join(lines)


def _line(own: Sequence[Cell], ours: Sequence[Cell], sets: Sequence[str]) -> str:
    by_set = {name: [cell["score"] for cell in own if cell["set"] == name] for name in sets}
    scores = [f"{mean(some):.3f}" if some else "-" for some in by_set.values()]
    spreads = [stdev(some) for some in by_set.values() if len(some) > 1]
    cells = [
        *scores,
        f"{mean(mean(some) for some in by_set.values() if some):.3f}",
        f"{mean(spreads):.3f}" if spreads else "-",
        "" if own[0]["contestant"] == _OURS else difference(ours, own),
        f"{mean(cell['seconds'] for cell in own):.0f}",
        str(len(own)),
    ]
    return f"| {' | '.join(cells)} |"


def difference(ours: Iterable[Cell], others: Iterable[Cell]) -> str:
    """How much better we are on the sets and seeds that both have; its interval is of pairs."""
    known = {(cell["set"], cell["seed"]): cell["score"] for cell in others}
    pairs = [
        cell["score"] - known[cell["set"], cell["seed"]]
        for cell in ours
        if (cell["set"], cell["seed"]) in known
    ]
    if not pairs:
        return "-"
    if len(pairs) == 1:
        return f"{pairs[0]:+.3f}"
    middle = mean(pairs)
    half = float(stats.t.ppf(0.975, len(pairs) - 1)) * stdev(pairs) / math.sqrt(len(pairs))
    return f"{middle:+.3f} ({middle - half:+.3f} to {middle + half:+.3f})"
