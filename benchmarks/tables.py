"""The tables in the docs, made from benchmarks/results: `python -m benchmarks.tables`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.learning_tables import learning_table
from benchmarks.methods_tables import methods_figure, methods_table
from benchmarks.search_peers_tables import search_peers_table
from benchmarks.search_tables import search_figure, search_table
from benchmarks.vision_tables import speed_table, vision_figure, vision_table

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "speed.md"
RESULTS = ROOT / "benchmarks" / "results" / "training.json"
SERVING_PAGE = ROOT / "docs" / "serving-engine.md"
SERVING = ROOT / "benchmarks" / "results" / "serving.json"
PRECISION = ROOT / "benchmarks" / "results" / "precision.json"
BEGIN, END = "<!-- benchmarks/results/training.json -->", "<!-- end -->"
FIGURE = "<!-- figure of benchmarks/results/training.json -->"
BEGIN_SERVING = "<!-- benchmarks/results/serving.json -->"
METHODS_PAGE = ROOT / "docs" / "methods.md"
METHODS = ROOT / "benchmarks" / "results" / "methods.json"
BEGIN_METHODS = "<!-- benchmarks/results/methods.json -->"
METHODS_FEW = ROOT / "benchmarks" / "results" / "methods_few.json"
BEGIN_METHODS_FEW = "<!-- benchmarks/results/methods_few.json -->"
LEARNING = ROOT / "benchmarks" / "results" / "learning.json"
BEGIN_LEARNING = "<!-- benchmarks/results/learning.json -->"
METHODS_FIGURE = "<!-- figure of benchmarks/results/methods.json -->"
VISION_PAGE = ROOT / "docs" / "vision.md"
VISION = ROOT / "benchmarks" / "results" / "vision.json"
BEGIN_VISION = "<!-- benchmarks/results/vision.json -->"
VISION_FIGURE = "<!-- figure of benchmarks/results/vision.json -->"
VISION_SPEED = ROOT / "benchmarks" / "results" / "vision_speed.json"
BEGIN_VISION_SPEED = "<!-- benchmarks/results/vision_speed.json -->"
SEARCH_PAGE = ROOT / "docs" / "search.md"
SEARCH = ROOT / "benchmarks" / "results" / "search.json"
BEGIN_SEARCH = "<!-- benchmarks/results/search.json -->"
SEARCH_FIGURE = "<!-- figure of benchmarks/results/search.json -->"
SEARCH_PEERS = ROOT / "benchmarks" / "results" / "search_peers.json"
BEGIN_SEARCH_PEERS = "<!-- benchmarks/results/search_peers.json -->"
BEGIN_PRECISION = "<!-- benchmarks/results/precision.json -->"

SERVED = (
    ("classify", "reviews classified"),
    ("classify_told", "the same behind an instruction"),
    ("write", "tokens written"),
)

_MARKS, _WIDTH = "█▓▒░·", 60


def main() -> int:
    """Rewrite the pages' tables."""
    page = updated(PAGE.read_text(), json.loads(RESULTS.read_text()))
    page = updated_vision_speed(page, stored_vision_speed())
    PAGE.write_text(updated_precision(page, stored_precision()))
    SERVING_PAGE.write_text(updated_serving(SERVING_PAGE.read_text(), stored_serving()))
    page = updated_methods(METHODS_PAGE.read_text(), stored_methods(), stored_methods_few())
    METHODS_PAGE.write_text(updated_learning(page, stored_learning()))
    VISION_PAGE.write_text(updated_vision(VISION_PAGE.read_text(), stored_vision()))
    page = updated_search(SEARCH_PAGE.read_text(), stored_search())
    SEARCH_PAGE.write_text(updated_search_peers(page, stored_search_peers()))
    return 0


def updated(page: str, results: list[dict[str, Any]]) -> str:
    """The page with the table and the figure of these results between their marks."""
    for begin, text in ((BEGIN, training_table(results)), (FIGURE, shares_figure(results))):
        page = _replaced(page, begin, text)
    return page


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


def updated_learning(page: str, results: dict[str, Any]) -> str:
    """The page with the table of what is learnt within a budget between its marks."""
    return _replaced(page, BEGIN_LEARNING, learning_table(results))


def stored_learning() -> dict[str, Any]:
    """What was measured of learning within a budget; empty before it was."""
    return _stored(LEARNING)


def updated_precision(page: str, results: list[dict[str, Any]]) -> str:
    """The page with the table of backbones' forms between its marks."""
    return _replaced(page, BEGIN_PRECISION, precision_table(results))


def stored_precision() -> list[dict[str, Any]]:
    """What was measured of backbones' forms; empty before it was."""
    found: list[dict[str, Any]] = json.loads(PRECISION.read_text()) if PRECISION.exists() else []
    return found


def updated_serving(page: str, results: dict[str, Any]) -> str:
    """The page with the table of what serving takes between its marks."""
    return _replaced(page, BEGIN_SERVING, serving_table(results))


def stored_serving() -> dict[str, Any]:
    """What was measured of serving; empty before it was."""
    return _stored(SERVING)


def serving_table(results: dict[str, Any]) -> str:
    """Markdown: throughput, then what a prompt more costs, then what it was measured on."""
    if "classify" not in results:
        return "\n".join(["Not measured yet.", *_churn_lines(results)])
    lines = [
        "| with 32 prompts, per CPU-second | cuecard | over PEFT fp32, one by one; grouped "
        "| over PEFT bf16, one by one; grouped | over no prompt | over one prompt |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, told in SERVED:
        one, over = results[name], results[name]["over"]
        pefts = [
            "; ".join(f"{over[f'peft_{kind}_{way}']:.1f}x" for way in ("per_request", "grouped"))
            for kind in ("fp32", "bf16")
        ]
        lines.append(
            f"| {told} | {one['per_cpu_s']['many']:.1f} | {pefts[0]} | {pefts[1]} "
            f"| {over['bare']:.2f} | {over['one']:.2f} |"
        )
    adding = {name: f"{1000 * value:,.0f} ms" for name, value in results["adding"].items()}
    about = [
        f"A new prompt's first answer comes after {adding['first_answer_idle_s']}, beside eight "
        f"answers being written after {adding['first_answer_beside_8_answers_s']}; their tokens "
        f"come every {adding['token_gap_s']}, and {adding['token_gap_while_adding_s']} meanwhile. "
        f"A prompt more takes {results['prompt_bytes'] / 2**10:,.0f} KiB: keys and values of "
        f"{results['length']} tokens are {results['kv_bytes'] / 2**10:,.0f}.",
        *_vllm_lines(results),
        *_churn_lines(results),
        f"{results['backbone']} in {results['dtype']}, {results['clients']} clients, "
        f"answers of {results['new_tokens']} tokens at most. {_about(results)}",
    ]
    return "\n".join([*lines, "", "\n\n".join(about)])


def _vllm_lines(results: dict[str, Any]) -> list[str]:
    """vLLM beside itself, and beside the local engine."""
    one = results.get("vllm")
    if not one:
        return []
    told = [
        f"{words} {one[name]['per_cpu_s']['many']:.1f} per CPU-second, "
        f"{one[name]['over']['bare']:.2f} of what it does without prompts"
        for name, words in SERVED
    ]
    return [f"The engine on vLLM {one['vllm']} in the same run: {'; '.join(told)}."]


def _churn_lines(results: dict[str, Any]) -> list[str]:
    if "churn" not in results:
        return []
    one = results["churn"]
    # A fifth of the time is given to caches to fill.
    rss = one["rss"][len(one["rss"]) // 5 :]
    memory = [f"{bytes_ / 2**20:,.0f} MiB" for bytes_ in (rss[0], max(rss), rss[-1])]
    return [
        f"{one['seconds'] / 60:g} minutes with {one['clients']} clients, prompts coming and going: "
        f"{one['requests']:,} requests, {one['given_up']:,} of them given up half way, "
        f"{one['errors']} errors, {one['crossed']} answers of another prompt, {one['other']} other "
        f"than alone ({one['dtype']}; no two prompts' scores of a context are nearer than "
        f"{one['nearest_prompts']:.2g}); memory {memory[0]} after a fifth of the time, at most "
        f"{memory[1]}, {memory[2]} at the end.",
    ]


def updated_methods(page: str, results: dict[str, Any], few: dict[str, Any]) -> str:
    """The page with the methods' table and figure between their marks.

    Args:
        few: what was measured with few rows and few steps.
    """
    page = _replaced(page, BEGIN_METHODS, methods_table(results))
    page = _replaced(page, BEGIN_METHODS_FEW, methods_table(few))
    return _replaced(page, METHODS_FIGURE, methods_figure(results))


def stored_methods() -> dict[str, Any]:
    """What was measured of the methods; empty before it was."""
    return _stored(METHODS)


def stored_methods_few() -> dict[str, Any]:
    """What was measured of them with few rows and few steps; empty before it was."""
    return _stored(METHODS_FEW)


def updated_search(page: str, results: dict[str, Any]) -> str:
    """The page with the searches' tables and figure between their marks."""
    page = _replaced(page, BEGIN_SEARCH, search_table(results))
    return _replaced(page, SEARCH_FIGURE, search_figure(results))


def stored_search() -> dict[str, Any]:
    """What was measured of searches; empty before it was."""
    return _stored(SEARCH)


def updated_search_peers(page: str, results: dict[str, Any]) -> str:
    """The page with the table of other packages' searchers between its marks."""
    return _replaced(page, BEGIN_SEARCH_PEERS, search_peers_table(results))


def stored_search_peers() -> dict[str, Any]:
    """What was measured of other packages' searchers; empty before it was."""
    return _stored(SEARCH_PEERS)


def updated_vision(page: str, results: dict[str, Any]) -> str:
    """The page with the table and the figure of these results between their marks."""
    page = _replaced(page, BEGIN_VISION, vision_table(results))
    return _replaced(page, VISION_FIGURE, vision_figure(results))


def stored_vision() -> dict[str, Any]:
    """What benchmarks/results has of the vision benchmark; nothing if it was never run."""
    return _stored(VISION)


def updated_vision_speed(page: str, results: dict[str, Any]) -> str:
    """The page with the table of steps on images between its marks."""
    return _replaced(page, BEGIN_VISION_SPEED, speed_table(results))


def stored_vision_speed() -> dict[str, Any]:
    """What was measured of steps on images; nothing if it was never run."""
    return _stored(VISION_SPEED)


def _stored(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def _replaced(page: str, begin: str, table: str) -> str:
    before, rest = page.split(begin, 1)
    after = rest.split(END, 1)[1]
    return f"{before}{begin}\n{table}\n{END}{after}"


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


def precision_table(results: list[dict[str, Any]]) -> str:
    """Markdown: a line per form of the backbone, then what it was measured on."""
    if not results:
        return "Not measured yet."
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
    return "\n".join([*lines, "", about, "", _about(one)])


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
