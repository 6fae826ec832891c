"""The tables of the vision benchmarks, in docs/vision.md and docs/speed.md."""

from __future__ import annotations

from typing import Any

from benchmarks.markdown import machine_line, signed
from benchmarks.methods.tables import plot

BESIDE = ("linear", "lora", "full")
"""What other contestants are compared with, pair by pair."""

NOT_YET = "Not measured yet: `make bench-vision`, then `python -m benchmarks.tables`."
SPEED_NOT_YET = "Not measured yet: `make bench-vision-speed`, then `python -m benchmarks.tables`."


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
    return "\n".join([*lines, "", *_gains(results["means"]), "", _about(results, plan)])


def _gains(means: list[dict[str, Any]]) -> list[str]:
    """On the mean over the sets, what each has beside the linear probe, LoRA and full tuning."""
    lines = [f"| on the mean, beside | {' | '.join(BESIDE)} |", f"|---{'|---' * len(BESIDE)}|"]
    for row in means:
        cells = []
        for other in BESIDE:
            gain = row.get(f"minus_{other}")
            cells.append("" if gain is None else signed(gain, row[f"minus_{other}_ci95"]))
        if any(cells):
            lines.append(f"| {row['contestant']} | {' | '.join(cells)} |")
    return lines


def vision_figure(results: dict[str, Any]) -> str:
    """Mean score over the sets against bytes on disk, a letter per contestant."""
    if not results:
        return NOT_YET
    title = f"{results['plan']['model']}: mean accuracy over the sets, bytes a task"
    return "\n".join(["```text", title, *plot(results["rows"]), "```"])


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    low, high = row["ci95"]
    against = row.get("minus_lora_ci95")
    mark = "" if against is None else "+" if against[0] > 0 else "-" if against[1] < 0 else ""
    return f"{row['score']:.3f}{mark} ({low:.3f} to {high:.3f})"


def _about(results: dict[str, Any], plan: dict[str, Any]) -> str:
    seeds = ", ".join(map(str, plan["seeds"]))
    return (
        f"Accuracy on {plan['test_rows']:,} test images of each set, with 95% intervals; + and - "
        "mark a paired interval above or below LoRA's. Full tuning is of every matrix of the "
        f"layers. `{plan['model']}`, images of {plan['side']} x {plan['side']} pixels, "
        f"{plan['examples']:,} examples, three rates each chosen on a fifth of them, "
        f"{plan['epochs']} epoch(s) of batches of {plan['batch_rows']}, seeds {seeds}. "
        f"{machine_line(results)}"
    )


def speed_table(results: dict[str, Any]) -> str:
    """A row per batch: CPU-seconds a step, how many times as long the others take, the shares."""
    if not results:
        return SPEED_NOT_YET
    lines = [
        "| a step of VPT-Deep | cuecard fp32, CPU-s | plain loop fp32, CPU-s | cuecard fp32 "
        "| cuecard bf16 | of its own time, products with the weights |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for case in results["cases"]:
        half = case.get("ratio_ours_bf16")
        lines.append(
            f"| {case['name']} | {case['ours_fp32_cpu_s']:.2f} | {case['plain_fp32_cpu_s']:.2f} "
            f"| {case['ratio_ours_fp32']:.2f}x | {'-' if half is None else f'{half:.2f}x'} "
            f"| {case['ours_time_shares']['products with the weights']:.0%} |"
        )
    if grid := results.get("grid"):
        lines += ["", _about_grid(grid)]
    apart = max(case["apart_of_moved"] for case in results["cases"])
    machine, versions = results["machine"], results["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    return "\n".join(
        [
            *lines,
            "",
            f"Prompts of both in fp32 end at most {apart:.1g} of how far they moved apart. "
            f"`{results['model']}`; {machine['cpu']}, 1 thread, load {machine['load']}, "
            f"{machine['fp32_gflop_per_cpu_s']} GFLOP per CPU-second in fp32 products and "
            f"{machine['bf16_gflop_per_cpu_s']} in bf16; {named}.",
        ]
    )


def _about_grid(grid: dict[str, Any]) -> str:
    return (
        f"All {grid['points']} points of the protocol's grid, {grid['together']} in a pass, "
        f"{grid['rows']} images of {grid['side']} x {grid['side']} pixels each: "
        f"{grid['ours_cpu_s']:.1f} CPU-s a step; as many single runs of the plain loop, with their "
        f"share of its validation after each epoch: {grid['plain_cpu_s']:.1f}, "
        f"{grid['ratio']:.2f} times as long."
    )
