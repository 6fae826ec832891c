"""The tables and the figure in docs/compile.md, of benchmarks/results/compile.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.markdown import NOT_YET, Row, machine_line, signed

_WIDTH = 50
_FULL = "full text"


def compile_table(results: Mapping[str, Any]) -> str:
    """Markdown: a table per model and text, one of the ports, and what it was measured on."""
    if not results:
        return NOT_YET
    lines: list[str] = []
    for cell in results["compiled"]:
        lines += [f"**{_title(cell)}**", "", *_compiled(cell), "", _facts(cell), ""]
        lines += [*_served(cell), ""]
    for cell in results["ported"]:
        lines += [f"**Ported from {cell['old']} to {cell['new']}**", "", *_ported(cell), ""]
    return "\n".join([*lines, _about(results), "", machine_line(results)])


def compile_figure(results: Mapping[str, Any]) -> str:
    """Agreement with the full text by length, a line per way to stand for it."""
    if not results:
        return NOT_YET
    lines: list[str] = []
    for cell in results["compiled"]:
        rows = [row for row in cell["rows"] if row["way"] != _FULL]
        wide = max(len(row["way"]) for row in rows)
        lines += ["", f"{_title(cell)}: agreement with the full text, by positions"]
        ways = dict.fromkeys(row["way"] for row in rows)
        for way in ways:
            for row in sorted((r for r in rows if r["way"] == way), key=lambda r: r["length"]):
                bar = _bar(row["agreement"], row["agreement_ci95"])
                lines.append(f"{way:{wide}} {row['length']:5,} {bar} {row['agreement']:.3f}")
        lines.append(f"{'':{wide}}       0{'1':>{_WIDTH - 1}}")
    return "\n".join(["```text", *lines[1:], "```"])


def _title(cell: Row) -> str:
    return f"{cell['text']}, {cell['backbone']}"


def _compiled(cell: Row) -> list[str]:
    heads = (
        "positions",
        "KV bytes",
        "same answers",
        "agreement",
        "KL",
        "score",
        "to the full text",
    )
    lines = [f"| prompt | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    for row in cell["rows"]:
        low, high = row["agreement_ci95"]
        scored = ("-", "-")
        if "score" in row:
            apart = signed(row["minus_full"], row["minus_full_ci95"])
            scored = f"{row['score']:.3f}", "" if row["way"] == _FULL else apart
        cells = (
            row["way"],
            f"{row['length']:,}",
            f"{row['length'] * cell['position_bytes']:,}",
            f"{row['same']:.3f}",
            f"{row['agreement']:.3f} ({low:.2f}-{high:.2f})",
            f"{row['kl']:.4f}",
            *scored,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _served(cell: Row) -> list[str]:
    """What a server takes."""
    lines = [
        "| in front of a request | positions | first token, s | CPU-s | tokens per CPU-s |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, row in cell["served"].items():
        cells = (
            name,
            f"{row['positions']:,}",
            f"{row['first_token_s']:.3f}",
            f"{row['first_token_cpu_s']:.3f}",
            f"{row['tokens_per_cpu_s']:,.1f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _facts(cell: Row) -> str:
    """What a compilation took."""
    times, lengths = cell["times"], cell["cpu_s"]
    spent = ", ".join(f"{seconds:,.0f} CPU-s at {length}" for length, seconds in lengths.items())
    known = ""
    if cell["tests"] < cell["asked"]:
        known = f", of {cell['asked']:,} those that the full text answers right"
    return (
        f"{cell['text_tokens']:,} tokens; {cell['held_out']:,} held-out inputs, {cell['tests']:,} "
        f"labelled rows{known}. Training took {spent}. A step takes {times['step_cpu_s']:.2f} "
        f"CPU-s, one that runs the text for its answers each time {times['rerun_cpu_s']:.2f}, "
        f"{times['rerun_cpu_s'] / times['step_cpu_s']:.1f} times as much."
    )


def _ported(cell: Row) -> list[str]:
    heads = (
        *("agreement", "without a prompt", "old", "ported", "to the old one", "trained anew"),
        *("CPU-s", "CPU-s anew"),
    )
    lines = [f"| prompt | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    for row in cell["sets"]:
        low, high = row["agreement_ci95"]
        cells = (
            row["set"],
            f"{row['agreement']:.3f} ({low:.2f}-{high:.2f})",
            f"{row['without']:.3f}",
            f"{row['old']:.3f}",
            f"{row['ported']:.3f}",
            signed(row["ported_minus_old"], row["ported_minus_old_ci95"]),
            f"{row['anew']:.3f}",
            f"{row['cpu_s']:,.0f}",
            f"{row['anew_cpu_s']:,.0f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _bar(value: float, interval: Sequence[float]) -> str:
    """The value on a scale from 0 to 1, its interval around it."""
    low, high, at = (min(_WIDTH - 1, round(each * (_WIDTH - 1))) for each in (*interval, value))
    signs = ["-" if low <= place <= high else " " for place in range(_WIDTH)]
    signs[at] = "●"
    return "".join(signs)


def _about(results: Mapping[str, Any]) -> str:
    plan = results["plan"]
    sizes, rows = plan["sizes"], plan["rows"]
    return (
        f"Compiled from {sizes['inputs']} inputs at most, {plan['steps']} steps of {plan['batch']} "
        f"rows; {sizes['demonstrations']} solved examples in a text. Agreement and KL are of "
        "held-out inputs, scores of labelled rows, differences paired; intervals are 95%. Ported: "
        f"prompts of {plan['length']} vectors that were trained on {rows['train']} labelled rows, "
        f"from {plan['unlabelled']} inputs without labels, all in one pass; trained anew: on the "
        "labelled rows, at one rate as the old one was. Served: the first token of a request "
        "alone, and greedy answers of 32 tokens to 16 clients at once, by the local engine; with "
        "the text in every request once with its prefix kept from request to request, once without."
    )
