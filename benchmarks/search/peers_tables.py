"""The table of GEPA's and promptolution's own code beside ours, in docs/search.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import NOT_YET, Row, difference, machine_line, mean_score


def search_peers_table(results: Mapping[str, Any]) -> str:
    """Markdown: a line per contestant, ours beside theirs, then what it was measured on."""
    if not results:
        return NOT_YET
    lines = [
        "| contestant | test | to the start | calls | tokens | CPU-s |",
        "|---|---:|---:|---:|---:|---:|",
        *map(_line, results["rows"]),
    ]
    pairs = [
        f"{pair['ours']} to {pair['peer']} {difference(pair, 'peer')}" for pair in results["pairs"]
    ]
    told = [f"Ours beside theirs: {'; '.join(pairs)}.", ""] if pairs else []
    return "\n".join([*lines, "", *told, _about(results)])


def _line(row: Row) -> str:
    return (
        f"| {row['contestant']} | {mean_score(row)} | {difference(row, 'start')} "
        f"| {row['calls']:,.0f} | {row['tokens']:,.0f} | {row['cpu_s']:,.0f} |"
    )


def _about(results: Mapping[str, Any]) -> str:
    plan = results["plan"]
    seeds = len({cell["seed"] for cell in results["cells"]})
    one = results["cells"][0]
    return (
        f"{plan['task']}: {plan['model']} answers, and writes {plan['written']} tokens at a time "
        f"at most. {plan['calls']} calls each at most, {plan['sizes']['train']} training and as "
        f"many validation rows at most, {len(one['right'])} test rows, {seeds} seed(s): means, 95% "
        "bootstrap intervals over seeds and rows, differences paired by seed and row. "
        f"{machine_line(results)}"
    )
