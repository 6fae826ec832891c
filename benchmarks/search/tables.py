"""The searches' tables and figure in docs/search.md, of benchmarks/results/search*.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import Any

from benchmarks.markdown import NOT_YET, Row, contestants_table, difference, machine_line, ran
from benchmarks.search.cells import AUTO, SOFT, START

_WIDTH = 48
_LEVELS = "▁▂▃▄▅▆▇█"


def search_table(results: Mapping[str, Any]) -> str:
    """Markdown: a table per protocol, a line per contestant; then what it was measured on."""
    if not results:
        return NOT_YET
    lines: list[str] = []
    for plan in results["plans"]:
        rows = [row for row in results["rows"] if row["protocol"] == plan["protocol"]]
        lines += [*_table(rows), "", *_findings(rows), "", _about(plan, results), ""]
    return "\n".join([*lines, machine_line(results)])


def search_figure(results: Mapping[str, Any]) -> str:
    """Per protocol and searcher: the best score in the race, over the calls that were spent."""
    if not results:
        return NOT_YET
    lines: list[str] = []
    for plan in results["plans"]:
        cells = [
            cell
            for cell in results["cells"]
            if cell["protocol"] == plan["protocol"] and "curve" in cell
        ]
        if cells:
            lines += ["", *_curves(cells, plan["calls"], plan["protocol"])]
    return "\n".join(["```text", *lines[1:], "```"])


def races_table(results: Mapping[str, Any]) -> str:
    """Markdown: a race of prompts beside equal shares of its calls, and all calls."""
    if not results:
        return NOT_YET
    names = {"race": "race", "equal": "as many calls in equal shares"}
    lines = [
        "| way | share of the calls | same choice | worse by |",
        "|---|---:|---:|---:|",
        "| all prompts answer all rows | 1 | - | - |",
        *(
            f"| {name} | {results[way]['share']:.2f} | {results[way]['same']:.2f} "
            f"| {results[way]['worse_by']:.4f} |"
            for way, name in names.items()
        ),
    ]
    cells, machine = results["cells"], results["machine"]
    sets = list(dict.fromkeys(cell["set"] for cell in cells))
    about = (
        f"{results['backbone']} on {', '.join(sets)}, {len(cells)} draws of "
        f"{results['candidates']} prompts and {results['rows']} rows, {results['orders']} orders "
        f"of the rows each, blocks of {results['block']}. `worse by`: accuracy on all rows, below "
        f"the best prompt's. {machine['cpu']}, load {machine['load']}."
    )
    return "\n".join([*lines, "", about])


def _table(rows: Sequence[Row]) -> list[str]:
    columns: dict[str, Callable[[Row], str]] = {
        "to the start": lambda row: difference(row, "start"),
        "to auto": lambda row: difference(row, "auto"),
        "validation": lambda row: f"{row['validation']:.3f}",
        "calls": lambda row: f"{row['calls']:,.0f}",
        "tokens": lambda row: f"{row['tokens']:,.0f}",
        "CPU-s": lambda row: f"{row['cpu_s']:,.0f}",
    }
    return contestants_table(rows, columns)


def _findings(rows: Sequence[Row]) -> list[str]:
    """The best searcher, beside the portfolio."""
    searchers = [row for row in ran(rows) if row["contestant"] not in (START, SOFT, AUTO)]
    if not searchers:
        return []
    best = max(searchers, key=lambda row: row["test"])
    told = f"Best searcher alone: {best['contestant']}, {best['test']:.3f}"
    auto = next((row for row in ran(rows) if row["contestant"] == AUTO), None)
    return [told + ("." if auto is None else f"; auto {auto['test']:.3f}.")]


def _curves(cells: Sequence[Row], calls: int, protocol: str) -> list[str]:
    """A line per searcher, on one scale."""
    found = {
        name: [
            mean(_score_at(cell["curve"], calls * (place + 1) / _WIDTH) for cell in own)
            for place in range(_WIDTH)
        ]
        for name in dict.fromkeys(cell["contestant"] for cell in cells)
        if (own := [cell for cell in cells if cell["contestant"] == name])
    }
    values = [value for line in found.values() for value in line]
    low, high = min(values), max(values)
    step = (high - low) / (len(_LEVELS) - 1) or 1.0
    lines = [f"{protocol}: mean best score in the race ({low:.3f} to {high:.3f})"]
    for name, line in found.items():
        marks = "".join(_LEVELS[round((value - low) / step)] for value in line)
        lines.append(f"{name:14} {line[0]:.3f} {marks} {line[-1]:.3f}")
    return [*lines, f"{'':21}0{f'{calls:,} calls':>{_WIDTH - 1}}"]


def _score_at(curve: Sequence[Sequence[float]], calls: float) -> float:
    """The best score when so many calls were spent; the start's before its race."""
    return next((score for spent, score in reversed(curve) if spent <= calls), curve[0][1])


def _about(plan: Row, results: Mapping[str, Any]) -> str:
    sizes = plan["sizes"]
    own = [cell for cell in results["cells"] if cell["protocol"] == plan["protocol"]]
    seeds = len({cell["seed"] for cell in own})
    rows = (
        f"{sizes['shots']} training and as many validation rows a label"
        if plan["protocol"] == "16-shot"
        else f"{sizes['train']} training and as many validation rows at most"
    )
    writes = "" if plan["llm"] is None else f"; {plan['llm']} writes"
    return (
        f"{plan['backbone']} answers{writes}. {plan['calls']:,} calls a search at most, {rows}, "
        f"{sizes['test']} test rows at most, {seeds} seed(s): means over seeds and the sets that "
        "each can run on, with 95% bootstrap intervals over seeds and rows, differences paired by "
        f"seed and row. Generations and steps of {plan['population']} candidates on "
        f"{plan['step_rows']} rows. The soft "
        "prompt is trained on as many rows as there are calls, each also run backward."
    )
