"""The multitask benchmark's table in docs/few-shot.md, of benchmarks/results/multitask.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.markdown import NOT_YET, Row, difference, machine_line, mean_score
from benchmarks.multitask.cells import MULTITASK, SHARED, SOURCE


def multitask_table(results: Mapping[str, Any]) -> str:
    """Markdown: a line per number of examples and contestant; then what it was measured on."""
    if not results:
        return NOT_YET
    rows = sorted(results["rows"], key=lambda row: int(row["examples"]))  # in their order
    lines = [*_table(rows), "", _about(results), ""]
    return "\n".join([*lines, machine_line(results)])


def _table(rows: Sequence[Row]) -> list[str]:
    sets = list(dict.fromkeys(name for row in rows for name in row["sets"]))
    lines = [
        f"| examples | method | {' | '.join(sets)} | mean | to a prompt alone | trained | CPU-s |",
        f"|---:|---|{'---:|' * (len(sets) + 4)}",
    ]
    for row in rows:
        own = " | ".join(f"{row['sets'][name]:.3f}" for name in sets)
        lines.append(
            f"| {row['examples']} | {row['contestant']} | {own} | {mean_score(row)} "
            f"| {difference(row, 'alone')} | {row['trained']:,.0f} | {row['cpu_s']:,.0f} |"
        )
    return lines


def _about(results: Mapping[str, Any]) -> str:
    plan, cells = results["plan"], results["cells"]
    rows, width = plan["rows"], _width(results)
    seeds = len({cell["seed"] for cell in cells if "seed" in cell})
    alone = sum(cell["cpu_s"] for cell in cells if cell["contestant"] == SOURCE)
    shared = sum(cell["cpu_s"] for cell in cells if cell["contestant"] == SHARED)
    targets = len({cell["set"] for cell in cells if "seed" in cell})
    own = plan["length"] + width
    return (
        f"{plan['backbone']}, {plan['length']} vectors, {plan['steps']} steps of "
        f"{plan['batch_rows']} rows of at most {rows['tokens']} tokens, validation rows as many as "
        f"examples and {rows['validation']} at most, {rows['test']} test rows, {seeds} seed(s): "
        "means over seeds and tasks, with 95% bootstrap intervals over seeds and rows, differences "
        f"paired by seed and row. Sources: {len(plan['sources'])} tasks of {rows['source']} rows, "
        f"{plan['source_steps']} steps; their prompts took {alone:,.0f} CPU-s in all, which SPoT "
        f"and {MULTITASK} and ATTEMPT need once, what they share {shared:,.0f} more. {MULTITASK} "
        f"trains P* and the factors of each new task. As in the paper's table of several new tasks "
        f"P* counts once for all: {plan['length'] * width / targets + own:,.0f} for each of these "
        f"{targets}, of which {own:,} are its own; here each new task trained a P* of its own."
    )


def _width(results: Mapping[str, Any]) -> int:
    """H: of P vectors and one factor of each axis as many are trained as MPT has."""
    trained = next(row["trained"] for row in results["rows"] if row["contestant"] == MULTITASK)
    length = int(results["plan"]["length"])
    return round((float(trained) - length) / (length + 1))
