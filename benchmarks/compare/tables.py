"""The comparison's table in docs/compare.md, of benchmarks/results/compare.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.compare.benchmark import WORDS
from benchmarks.markdown import NOT_YET, Row, beside, contestants_table, machine_line, ran

_PROMPTS = ("prompt-tuning", "p-tuning-v2")
_TUNED = ("lora", "full")


def compare_table(results: Mapping[str, Any]) -> str:
    """Markdown: a table and a verdict for each model; then what it was measured on."""
    if not results:
        return NOT_YET
    parts: list[str] = []
    for model, rows in results["models"].items():
        parts += [f"**{model}**", "", *_table(rows), "", *_verdict(rows), ""]
    return "\n".join([*parts, _about(results)])


def _table(rows: Sequence[Row]) -> list[str]:
    columns: dict[str, Callable[[Row], str]] = {
        "over the best in words": lambda row: beside(row, WORDS),
        "to lora": lambda row: beside(row, "lora"),
        "parameters": lambda row: f"{row['parameters']:,.0f}",
        "bytes/task": lambda row: f"{row['bytes']:,.0f}",
        "CPU-s": lambda row: f"{row['cpu_s']:,.0f}",
        "weights": lambda row: {True: "changed", False: "same", None: "-"}[row["changed"]],
        "forgetting": lambda row: "-" if row["forgotten"] is None else f"{row['forgotten']:+.3f}",
    }
    return contestants_table(rows, columns)


def _verdict(rows: Sequence[Row]) -> list[str]:
    """Prompts beside tuned weights and beside what needs no training, also where they lose."""
    by_name = {row["contestant"]: row for row in ran(rows)}
    lines = []
    for prompt in (name for name in _PROMPTS if name in by_name):
        for other in (*_TUNED, WORDS, "tfidf", "embedding-lr"):
            found = by_name[prompt]["minus"].get(other)
            if found is not None:
                told = beside(by_name[prompt], other)
                lines.append(f"- {prompt} {_said(found['ci95'])} {other}: {told}.")
    return lines


def _said(ci95: Sequence[float]) -> str:
    low, high = ci95
    if low > 0:
        return "is better than"
    return "loses to" if high < 0 else "is not told apart from"


def _about(results: Mapping[str, Any]) -> str:
    plan, rows = results["plan"], results["plan"]["rows"]
    return (
        f"{rows['train']} training, {rows['validation']} validation and {rows['test']} test rows "
        f"at most a set, of {rows['tokens']} tokens; {plan['steps']} steps of {plan['batch']} rows "
        f"at {plan['rates']} rates, one seed. Means over the sets with 95% bootstrap intervals "
        "over rows, differences paired by row. CPU-s: of all rates and of choosing; forgetting: "
        "nats per token on texts that the frozen model writes. "
        f"{machine_line(results)}"
    )
