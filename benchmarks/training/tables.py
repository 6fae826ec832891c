"""The tables of steps beside PEFT and of backbones' forms, in docs/speed.md."""

from __future__ import annotations

from typing import Any

from benchmarks.markdown import NOT_YET

_MARKS, _WIDTH = "█▓▒░·", 60


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
    return "\n".join([*lines, "", *_accuracy_lines(results), measured_on(cases[0])])


def shares_figure(results: list[dict[str, Any]]) -> str:
    """A bar per case: where a step's time goes, and what PEFT in bf16 needs beside it."""
    cases = [result for result in results if "ours_time_shares" in result]
    kinds = list(cases[0]["ours_time_shares"])
    lines = [f"{mark} {kind}" for mark, kind in zip(_MARKS, kinds, strict=True)]
    for case in cases:
        bar = ""
        filled = 0.0
        for mark, share in zip(_MARKS, case["ours_time_shares"].values(), strict=True):
            filled += share * _WIDTH
            bar += mark * (round(filled) - len(bar))
        products = case["ours_time_shares"][kinds[0]]
        bound = case["ratio_bf16"] / products
        lines += ["", case["name"], f"{bar}  {products:.0%} {kinds[0]}"]
        lines += [f"{'':{_WIDTH}}  PEFT bf16 takes {case['ratio_bf16']:.1f}x; with nothing but"]
        lines[-1] += f" these products it would be {bound:.1f}x"
    return "\n".join(["```text", *lines, "```"])


def precision_table(results: list[dict[str, Any]]) -> str:
    """Markdown: a line per form of the backbone, then what it was measured on."""
    if not results:
        return NOT_YET
    lines = [
        "| form | validation loss | minus fp32 | validation accuracy | minus fp32 | CPU-s a step "
        "| weights, MiB | peak with them, MiB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for found in results:
        peak = found["weight_bytes"] + found["peak_bytes"]
        quality = [
            _interval(found[name], digits)
            for name, digits in (
                ("loss", 4),
                ("loss_minus_fp32", 4),
                ("accuracy", 3),
                ("accuracy_minus_fp32", 3),
            )
        ]
        lines.append(
            f"| {found['name']} | {' | '.join(quality)} | {found['cpu_s']:.2f} "
            f"| {found['weight_bytes'] / 2**20:,.0f} | {peak / 2**20:,.0f} |"
        )
    one = results[0]
    about = (
        f"{one['backbone']}, {one['steps']} steps of 8 reviews, 20 vectors, "
        f"{one['validation_rows']} validation rows, {len(one['seeds'])} seed(s): "
        "means with 95% intervals across seeds (Student's t)."
    )
    return "\n".join([*lines, "", about, "", measured_on(one)])


def _interval(found: dict[str, Any], digits: int) -> str:
    mean, half = found["mean"], found["half_width"]
    return f"{mean:.{digits}f}" + ("" if half is None else f" ± {half:.{digits}f}")


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
    runs = result["runs"]
    per_seed = ", ".join(
        f"{run['accuracy']:.3f} in {run['peft_bf16_cpu_s']:.0f} and "
        f"{'never' if run['ours_cpu_s'] is None else format(run['ours_cpu_s'], '.0f')}"
        for run in runs
    )
    return [
        f"CPU time until cuecard has the validation accuracy that PEFT has after its "
        f"{result['peft_steps']} steps, {len(runs)} seed(s), reviews, {result['threads']} "
        f"thread(s): {'; '.join(ratios)} "
        f"(accuracy, CPU-s of PEFT in bf16 and ours: {per_seed}).",
        "",
    ]


def measured_on(case: dict[str, Any]) -> str:
    """The processor, how fast it multiplies matrices, and the versions."""
    machine, packages = case["machine"], case["versions"]
    return (
        f"{machine['cpu']}, {machine['threads']} threads, "
        f"{machine['bf16_gflop_per_cpu_s']} GFLOP per CPU-second in bf16 products and "
        f"{machine['fp32_gflop_per_cpu_s']} in fp32; "
        + ", ".join(f"{name} {version}" for name, version in packages.items())
        + "."
    )
