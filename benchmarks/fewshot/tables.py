"""The few-shot table and figure in docs/few-shot.md, of benchmarks/results/fewshot.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.fewshot.contestants import BASELINES, IN_CONTEXT, LORA, META, SHARED, TEXT
from benchmarks.markdown import NOT_YET, Row, beside, contestants_table, machine_line, ran

_WIDTH = 56


def fewshot_table(results: Mapping[str, Any]) -> str:
    """Markdown: a line per contestant; then what it says, and what it was measured on."""
    if not results:
        return NOT_YET
    rows = results["rows"]
    return "\n".join([*_table(rows), "", *_findings(rows), "", _about(results)])


def fewshot_figure(results: Mapping[str, Any]) -> str:
    """A line per contestant: the mean over the sets with its interval, on one scale."""
    if not results:
        return NOT_YET
    rows = sorted(ran(results["rows"]), key=lambda row: -row["test"])
    low = min(row["test_ci95"][0] for row in rows)
    high = max(row["test_ci95"][1] for row in rows)
    step = (high - low) / (_WIDTH - 1) or 1.0
    wide = max(len(row["contestant"]) for row in rows)
    lines = [f"{'':{wide}} mean accuracy over the sets, 95% interval"]
    for row in rows:
        left, right = (round((end - low) / step) for end in row["test_ci95"])
        marks = [" "] * left + ["-"] * (right - left + 1)
        marks[round((row["test"] - low) / step)] = "o"
        lines.append(f"{row['contestant']:{wide}} {row['test']:.3f} |{''.join(marks)}")
    ends = f"{low:.3f}", f"{high:.3f}"
    lines.append(f"{'':{wide}}        {ends[0]}{ends[1]:>{_WIDTH - len(ends[0])}}")
    return "\n".join(["```text", *lines, "```"])


def _table(rows: Sequence[Row]) -> list[str]:
    columns: dict[str, Callable[[Row], str]] = {
        "deviation": lambda row: f"{row['deviation']:.3f}",
        f"to {LORA}": lambda row: beside(row, LORA),
        f"to {TEXT}": lambda row: beside(row, TEXT),
        "trained": lambda row: f"{row['trained']:,}",
        "CPU-s": lambda row: f"{row['cpu_s']:,.0f}",
    }
    return contestants_table(rows, columns)


def _findings(rows: Sequence[Row]) -> list[str]:
    """The best prompt beside everything else, and what a learnt start gains."""
    ours = [row for row in ran(rows) if row["contestant"] not in BASELINES]
    if not ours:
        return []
    best = max(ours, key=lambda row: row["test"])
    lines = [f"- Best of the prompts: {best['contestant']}, {best['test']:.3f}."]
    lines += [
        f"- It is {beside(best, other)} beside {other}."
        for other in BASELINES
        if other in best["minus"]
    ]
    for name in (META, SHARED):
        row = next((row for row in ran(rows) if row["contestant"] == name), None)
        if row is not None and TEXT in row["minus"]:
            lines.append(f"- {name} is {beside(row, TEXT)} beside {TEXT}.")
    return lines


def _about(results: Mapping[str, Any]) -> str:
    plan, sizes = results["plan"], results["plan"]["sizes"]
    seeds = len({cell["seed"] for cell in results["cells"]})
    return (
        f"{plan['backbone']}; {plan['encoder']} makes the embeddings. {sizes['shots']} training "
        f"and as many validation rows a label, {sizes['test']} test rows at most, of "
        f"{sizes['tokens']} tokens at most, {seeds} seed(s). {plan['steps']} steps of "
        f"{plan['batch']} rows at the best of three rates on the first seed's validation rows; "
        f"{IN_CONTEXT}: the best of four on its own. The deviation is that of the seeds' means "
        "over the sets; intervals are 95% bootstrap intervals over seeds and rows, differences "
        "paired by seed and row. CPU-s: of a training with its validations. "
        f"{machine_line(results)}"
    )
