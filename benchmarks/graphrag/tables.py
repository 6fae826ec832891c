"""The extraction benchmark's table and figure in docs/graphrag.md, of results/graphrag.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.markdown import NOT_YET, Row, machine_line

INDEX_ROWS = ("text_units", "entities", "relationships", "communities", "community_reports")
"""Tables of a finished graph."""

_WIDTH = 50
_BESIDE = ("generic", "GraphRAG's tuning", "tuned on gold")
"""Contestants that others are compared with in the table."""


def graphrag_table(results: Mapping[str, Any]) -> str:
    """Markdown: a table per model and set, a line per contestant; then what it was measured on."""
    if not results:
        return NOT_YET
    lines: list[str] = []
    for (model, name), rows in _groups(results["rows"]):
        lines += [f"**{name}, {model}**", "", *_table(rows), "", *_skipped(rows)]
    return "\n".join([*lines, _about(results), "", machine_line(results)])


def graphrag_figure(results: Mapping[str, Any]) -> str:
    """Strict F1 of entities with its interval, a line per contestant."""
    if not results:
        return NOT_YET
    lines: list[str] = []
    for (model, name), rows in _groups(results["rows"]):
        lines += ["", f"{name}, {model}: strict F1 of entities"]
        for row in _measured(rows):
            score = row["scores"]["entities, strict"]
            bar = _bar(score["f1"], score["ci95"]["f1"])
            lines.append(f"{row['contestant']:18} {bar} {score['f1']:.3f}")
        lines.append(f"{'':19}0{'1':>{_WIDTH - 1}}")
    return "\n".join(["```text", *lines[1:], "```"])


def index_table(results: Mapping[str, Any]) -> str:
    """Markdown: what GraphRAG's graphs have, a line each; behind it a graph made before."""
    if not results:
        return NOT_YET
    heads = ["texts", "LLM", *(each.replace("_", " ") for each in INDEX_ROWS)]
    heads += ["answers", "tokens", "CPU-min"]
    lines = [f"| {' | '.join(heads)} |", f"|---|---|{'---:|' * (len(heads) - 2)}"]
    notes = []
    for name, row in results.items():
        spent = [f"{row['calls']:,}", f"{row['tokens']:,}", f"{row['cpu_s'] / 60:,.0f}"]
        llm = row["model"] + (f"; reports: {row['reporter']}" if "reporter" in row else "")
        cells = [f"{name} ({row['texts']})", llm, *_counts(row), *spent]
        lines.append(f"| {' | '.join(cells)} |")
        if "reference" in row:
            before = row["reference"]
            cells = [f"{name}, made before", "another", *_counts(before), "", "", ""]
            lines.append(f"| {' | '.join(cells)} |")
            shares = " and ".join(
                f"{share:.0%} of its {of}" for of, share in before["found"].items()
            )
            notes.append(f"Of the graph of {name} that was made before, it has {shares} by name.")
    return "\n".join([*lines, "", *notes]).rstrip()


def _counts(graph: Mapping[str, Any]) -> list[str]:
    return [f"{graph['rows'][each]:,}" for each in INDEX_ROWS]


def _groups(rows: Iterable[Row]) -> list[tuple[tuple[str, str], list[Row]]]:
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row["model"], row["set"]), []).append(row)
    return list(found.items())


def _measured(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if "scores" in row]


def _table(rows: Sequence[Row]) -> list[str]:
    measured = _measured(rows)
    names = [row["contestant"] for row in measured]
    others = [each for each in _BESIDE if each in names]
    heads = [
        "prompt",
        "entities P / R",
        "F1, strict",
        *(f"to {each}" for each in others),
        "relaxed",
        "relations F1",
        "relaxed",
        "conforms",
        "tokens read + written",
        "to make it: calls, CPU-s",
        "CPU-s a text",
    ]
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    for row in measured:
        strict, made = row["scores"]["entities, strict"], row["made"]
        cells = [
            row["contestant"],
            f"{strict['precision']:.2f} / {strict['recall']:.2f}",
            _value(row, "entities, strict"),
            *(_beside(row, each) for each in others),
            _value(row, "entities, relaxed"),
            _value(row, "relations, strict"),
            _value(row, "relations, relaxed"),
            f"{row['conformance']:.0%}",
            f"{row['read']:,.0f} + {row['written']:,.0f}",
            f"{made['calls']:,.0f}, {made['cpu_s']:,.0f}",
            f"{row['cpu_s'] / row['texts']:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _value(row: Row, key: str) -> str:
    score = row["scores"][key]
    low, high = score["ci95"]["f1"]
    return f"{score['f1']:.3f} ({low:.2f}-{high:.2f})"


def _beside(row: Row, other: str) -> str:
    gain = row["gains"].get(other)
    if gain is None:
        return "-"
    low, high = gain["entities, strict"]["ci95"]
    return f"{gain['entities, strict']['value']:+.3f} ({low:+.2f} to {high:+.2f})"


def _skipped(rows: Sequence[Row]) -> list[str]:
    found = [f"{row['contestant']}: {row['unsupported']}" for row in rows if "unsupported" in row]
    return [f"Not measured: {'; '.join(found)}.", ""] if found else []


def _bar(value: float, interval: Sequence[float]) -> str:
    """The value on a scale from 0 to 1, its interval around it."""
    low, high, at = (min(_WIDTH - 1, round(each * (_WIDTH - 1))) for each in (*interval, value))
    signs = ["-" if low <= place <= high else " " for place in range(_WIDTH)]
    signs[at] = "●"
    return "".join(signs)


def _about(results: Mapping[str, Any]) -> str:
    plan = results["plan"]
    sizes = plan["sizes"]
    return (
        f"{sizes['test']} texts of each test set, the same for all. Every model tunes, searches "
        f"and extracts itself, is told the set's types, answers at temperature 0 in at most "
        f"{plan['answer_tokens']} tokens, and is read as GraphRAG reads it. F1 is a micro-average; "
        "in parentheses 95% intervals by the Bayesian bootstrap over texts, of differences paired. "
        f"Tuned: on {sizes['corpus']} training texts without gold, examples solved by the model "
        f"itself; on gold: examples from {sizes['solved']} texts with gold. Optimised: from the "
        f"prompt tuned on gold, {plan['calls']} calls at most by the searcher {plan['searcher']} "
        f"on {sizes['searched']} training texts with gold; its calls and seconds come on top of "
        "the tuning's. Soft: "
        f"{plan['steps']} steps of {plan['batch_rows']} rows from {sizes['trained']} training "
        "texts with gold, without descriptions, from the vectors of two solved texts. "
        "CPU-seconds have loading in them."
    )
