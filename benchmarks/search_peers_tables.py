"""The table of GEPA's and promptolution's own code beside ours, in docs/search.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def search_peers_table(results: Mapping[str, Any]) -> str:
    """Markdown: a line per contestant, ours beside theirs, then what it was measured on."""
    if not results:
        return "Not measured yet."
    lines = [
        "| contestant | test | to the start | calls | tokens | CPU-s |",
        "|---|---:|---:|---:|---:|---:|",
        *map(_line, results["rows"]),
    ]
    pairs = [_pair(pair) for pair in results["pairs"]]
    told = [f"Ours beside theirs: {'; '.join(pairs)}.", ""] if pairs else []
    return "\n".join([*lines, "", *told, _about(results)])


def _line(row: Row) -> str:
    low, high = row["test_ci95"]
    beside = _difference(row, "minus_start") if "minus_start" in row else "-"
    return (
        f"| {row['contestant']} | {row['test']:.3f} ({low:.2f}-{high:.2f}) | {beside} "
        f"| {row['calls']:,.0f} | {row['tokens']:,.0f} | {row['cpu_s']:,.0f} |"
    )


def _pair(pair: Row) -> str:
    return f"{pair['ours']} to {pair['peer']} {_difference(pair, 'minus_peer')}"


def _difference(row: Row, key: str) -> str:
    low, high = row[f"{key}_ci95"]
    return f"{row[key]:+.3f} ({low:+.3f} to {high:+.3f})"


def _about(results: Mapping[str, Any]) -> str:
    plan, machine = results["plan"], results["machine"]
    seeds = _distinct(results["cells"], "seed")
    packages = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    one = results["cells"][0]
    return (
        f"{plan['task']}: {plan['model']} answers, and writes {plan['written']} tokens at a time "
        f"at most. {plan['calls']} calls each at most, {plan['sizes']['train']} training and as "
        f"many validation rows at most, {len(one['right'])} test rows, {seeds} seed(s): means, 95% "
        "bootstrap intervals over seeds and rows, differences paired by seed and row. "
        f"{machine['cpu']}, load {machine['load']}; {packages}."
    )


def _distinct(cells: Sequence[Row], key: str) -> int:
    return len({cell[key] for cell in cells})
