"""The methods' table and figure in docs/methods.md, made from benchmarks/results/methods.json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.markdown import NOT_YET, Row, machine_line

BASELINES = ("majority", "by hand", "lora", "full")
_WIDTH, _HEIGHT = 64, 12
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def methods_table(results: Mapping[str, Any]) -> str:
    """Markdown: a table per model, a line per contestant; then what it says and was measured on."""
    if not results:
        return NOT_YET
    lines: list[str] = []
    for model in _unique(results["rows"], "model"):
        rows = [row for row in results["rows"] if row["model"] == model]
        lines += [f"**{Path(model).name}**", "", *_model_table(rows), "", *_findings(rows), ""]
    return "\n".join([*lines, _about(results)])


def methods_figure(results: Mapping[str, Any]) -> str:
    """Per model: mean score over the sets against bytes on disk, a letter per contestant."""
    if not results:
        return NOT_YET
    lines: list[str] = []
    for model in _unique(results["rows"], "model"):
        rows = [row for row in results["rows"] if row["model"] == model]
        lines += ["", f"{Path(model).name}: mean score over the sets, bytes a task", *plot(rows)]
    return "\n".join(["```text", *lines[1:], "```"])


def _model_table(rows: Sequence[Row]) -> list[str]:
    sets = _unique(rows, "set")
    lines = [
        f"| contestant | {' | '.join(sets)} | trained | bytes | CPU-s a seed |",
        f"|---|{'---:|' * (len(sets) + 3)}",
    ]
    for name in _unique(rows, "contestant"):
        own = {row["set"]: row for row in rows if row["contestant"] == name}
        run = [row for row in own.values() if "score" in row]
        if not run:
            lines.append(f"| {name} | {' | '.join('no' for _ in sets)} | - | - | - |")
            continue
        cells = [_score(own.get(one)) for one in sets]
        # The hand-written prompt was searched for, not trained, and once for all seeds.
        spent = mean(mean(row["cpu_s"]) for row in run)
        lines.append(
            f"| {name} | {' | '.join(cells)} | {max(row['parameters'] for row in run):,} "
            f"| {max(row['bytes'] for row in run):,} | {spent:,.0f} |"
        )
    return lines


def _score(row: Row | None) -> str:
    if row is None or "score" not in row:
        return "no"
    low, high = row["ci95"]
    mark = ""
    if "minus_by_hand_ci95" in row:
        above, below = row["minus_by_hand_ci95"][0] > 0, row["minus_by_hand_ci95"][1] < 0
        mark = " +" if above else " -" if below else ""
    return f"{row['score']:.3f} ({low:.2f}-{high:.2f}){mark}"


def _findings(rows: Sequence[Row]) -> list[str]:
    """The best method beside LoRA on each set, and every method below the hand-written prompt."""
    found = []
    methods = [row for row in rows if row["contestant"] not in BASELINES and "score" in row]
    for name in _unique(methods, "set"):
        own = [row for row in methods if row["set"] == name]
        best = max(own, key=lambda row: row["score"])
        text = f"- {name}: best method {best['contestant']}"
        if "minus_lora" in best:
            low, high = best["minus_lora_ci95"]
            text += f", {best['minus_lora']:+.3f} beside LoRA ({low:+.3f} to {high:+.3f})"
        below = [row["contestant"] for row in own if row.get("minus_by_hand", 0.0) < 0]
        text += f"; below the prompt by hand: {', '.join(below) or 'none'}."
        found.append(text)
    return found


def plot(rows: Sequence[Row]) -> list[str]:
    """Lines of a figure: contestants' mean score over the sets, against bytes a task."""
    points = []
    for name in _unique(rows, "contestant"):
        own = [row for row in rows if row["contestant"] == name and "score" in row]
        if own and name != "majority":
            size = max(1, max(row["bytes"] for row in own))
            points.append((name, math.log10(size), mean(row["score"] for row in own)))
    left, right = _span([x for _, x, _ in points])
    bottom, top = _span([y for _, _, y in points])
    grid = [[" "] * _WIDTH for _ in range(_HEIGHT)]
    legend = []
    for letter, (name, x, y) in zip(_LETTERS, points, strict=False):
        column = round((x - left) / (right - left) * (_WIDTH - 1))
        line = round((top - y) / (top - bottom) * (_HEIGHT - 1))
        # Of two in one place, the later stands beside the other.
        while grid[line][column] != " ":
            column = (column + 1) % _WIDTH
        grid[line][column] = letter
        legend.append(f"{letter} {name} {y:.3f}, {10**x:,.0f} B")
    lines = []
    for number, marks in enumerate(grid):
        value = top - number / (_HEIGHT - 1) * (top - bottom)
        lines.append(f"{value:5.3f} |{''.join(marks)}".rstrip())
    lines.append(f"      +{'-' * _WIDTH}")
    ends = f"{10**left:,.0f} B", f"{10**right:,.0f} B"
    lines.append(f"       {ends[0]}{ends[1]:>{_WIDTH - len(ends[0])}}  (logarithmic)")
    return [*lines, *(f"  {entry}" for entry in legend)]


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _about(results: Mapping[str, Any]) -> str:
    plan, rows = results["plan"], results["plan"]["rows"]
    sets = ", ".join(
        f"{name} {one['source']} ({one['license'] or 'own file'})"
        for name, one in results["sets"].items()
    )
    return (
        f"Accuracy on {rows['test']} test rows, mean of {plan['seeds']} seeds of {rows['train']} "
        f"training rows each and {plan['steps']} steps, with 95% bootstrap intervals over seeds "
        "and rows; + and - mark a paired interval above or below the prompt by hand. Sets (licence "
        f"of the package): {sets}. {machine_line(results)}"
    )


def _unique(rows: Sequence[Row], key: str) -> list[str]:
    return list(dict.fromkeys(str(row[key]) for row in rows))
