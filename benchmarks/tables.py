"""The tables in the docs, made from benchmarks/results: `python -m benchmarks.tables`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "speed.md"
RESULTS = ROOT / "benchmarks" / "results" / "training.json"
BEGIN, END = "<!-- benchmarks/results/training.json -->", "<!-- end -->"


def main() -> int:
    """Rewrite the page's table."""
    PAGE.write_text(updated(PAGE.read_text(), json.loads(RESULTS.read_text())))
    return 0


def updated(page: str, results: list[dict[str, Any]]) -> str:
    """The page with the table of these results between its marks."""
    before, rest = page.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    return f"{before}{BEGIN}\n{training_table(results)}\n{END}{after}"


def training_table(results: list[dict[str, Any]]) -> str:
    """Markdown: a line per case, then what it was measured on."""
    cases = [result for result in results if "ratio_bf16" in result and "ours_cpu_s" in result]
    lines = [
        "| one training step | cuecard, CPU-s (wall) | PEFT fp32 | PEFT bf16 | of the matrix rate "
        "| peak memory above the weights, MiB: cuecard, PEFT fp32, PEFT bf16 |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for case in cases:
        peaks = [case[f"{name}_peak_bytes"] / 2**20 for name in ("ours", "peft", "peft_bf16")]
        lines.append(
            f"| {case['name']} | {case['ours_cpu_s']:.2f} ({case['ours_wall_s']:.2f}) "
            f"| {case['ratio_fp32']:.1f}x | {case['ratio_bf16']:.1f}x "
            f"| {case['gemm_share']:.0%} | {', '.join(f'{peak:,.0f}' for peak in peaks)} |"
        )
    return "\n".join([*lines, "", *_accuracy_lines(results), _about(cases[0])])


def _accuracy_lines(results: list[dict[str, Any]]) -> list[str]:
    found = [result for result in results if result["name"] == "time to accuracy"]
    if not found:
        return []
    (result,) = found
    ratios = [
        f"PEFT {precision}: {1 / result[f'ratio_{precision}']:.1f}x less"
        for precision in ("fp32", "bf16")
        if result[f"ratio_{precision}"]
    ]
    seeds = len({run["seed"] for run in result["runs"]})
    return [
        f"CPU time until cuecard has the validation accuracy that PEFT has after its "
        f"{result['peft_steps']} steps, {seeds} seed(s), reviews: {'; '.join(ratios)}.",
        "",
    ]


def _about(case: dict[str, Any]) -> str:
    machine, packages = case["machine"], case["versions"]
    return (
        f"{machine['cpu']}, {machine['threads']} threads, "
        f"{machine['bf16_gflop_per_cpu_s']} GFLOP per CPU-second in bf16 products and "
        f"{machine['fp32_gflop_per_cpu_s']} in fp32; "
        + ", ".join(f"{name} {version}" for name, version in packages.items())
        + "."
    )


if __name__ == "__main__":
    sys.exit(main())
