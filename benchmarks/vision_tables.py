"""The table of the vision benchmark in docs/vision.md."""

from __future__ import annotations

from typing import Any

NOT_YET = "Not measured yet: `make bench-vision`, then `python -m benchmarks.tables`."


def vision_table(results: dict[str, Any]) -> str:
    """A row per contestant: its mean, every set's score with its interval, and what it takes."""
    if not results:
        return NOT_YET
    rows, plan = results["rows"], results["plan"]
    sets = list(dict.fromkeys(row["set"] for row in rows))
    names = list(dict.fromkeys(row["contestant"] for row in rows))
    lines = [
        f"| contestant | mean | {' | '.join(sets)} | trained | KB | CPU-s |",
        f"|---|---{'|---' * len(sets)}|---:|---:|---:|",
    ]
    for name in names:
        own = {row["set"]: row for row in rows if row["contestant"] == name}
        scores = [own[x]["score"] for x in sets if x in own]
        mean = f"{sum(scores) / len(scores):.3f}" if len(scores) == len(sets) else "-"
        cells = [_cell(own.get(x)) for x in sets]
        sizes = [row["parameters"] for row in own.values()]
        kilobytes = max(row["bytes"] for row in own.values()) / 1000
        spent = sum(row["cpu_s"] for row in own.values())
        lines.append(
            f"| {name} | {mean} | {' | '.join(cells)} | {max(sizes):,} | {kilobytes:,.0f} | "
            f"{spent:,.0f} |"
        )
    return "\n".join([*lines, "", _about(results, plan)])


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    low, high = row["ci95"]
    against = row.get("minus_lora_ci95")
    mark = "" if against is None else "+" if against[0] > 0 else "-" if against[1] < 0 else ""
    return f"{row['score']:.3f}{mark} ({low:.3f} to {high:.3f})"


def _about(results: dict[str, Any], plan: dict[str, Any]) -> str:
    machine, versions = results["machine"], results["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    seeds = ", ".join(map(str, plan["seeds"]))
    return (
        f"Accuracy on {plan['test_rows']:,} test images of each set, with 95% intervals; + and - "
        "mark a paired interval above or below LoRA's. Full tuning is of every matrix of the "
        f"layers. `{plan['model']}`, images of {plan['side']} x {plan['side']} pixels, "
        f"{plan['examples']:,} examples, three rates each chosen on a fifth of them, "
        f"{plan['epochs']} epoch(s) of batches of {plan['batch_rows']}, seeds {seeds}. "
        f"{machine['cpu']}, load {machine['load']}; {named}."
    )
