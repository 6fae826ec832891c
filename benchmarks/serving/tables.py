"""The table of what serving takes, in docs/serving-engine.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.markdown import NOT_YET, machine_line
from benchmarks.training.tables import measured_on

SERVED = (
    ("classify", "reviews classified"),
    ("classify_told", "the same behind an instruction"),
    ("write", "tokens written"),
)


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
        f"answers of {results['new_tokens']} tokens at most. {measured_on(results)}",
    ]
    return "\n".join([*lines, "", "\n\n".join(about)])


def thousand_table(results: dict[str, Any]) -> str:
    """Markdown: many named prompts over HTTP beside one of each kind."""
    if not results:
        return NOT_YET
    lines = [
        "| served over HTTP | requests per CPU-second | per second | median answer | 99% within |",
        "|---|---:|---:|---:|---:|",
    ]
    many, few = results["many"], results["one"]
    told = {"many": f"{many['prompts']:,} prompts", "one": "one of each kind"}
    for name, each in results["traffic"].items():
        lines.append(
            f"| {told[name]} | {each['per_cpu_s']:.1f} | {each['per_s']:.1f} "
            f"| {1000 * each['p50_s']:,.0f} ms | {1000 * each['p99_s']:,.0f} ms |"
        )
    plan, over, traffic = results["plan"], results["over_one"], results["traffic"].values()
    asked = sum(each["requests"] for each in traffic)
    wrong = sum(each["crossed"] for each in traffic)
    about = (
        f"Requests per CPU-second {over['rate_per_cpu_s']:.2f} of those to one prompt of each "
        f"kind, 99% within {over['p99']:.2f} times its time; {wrong:,} of {asked:,} answers were "
        f"another prompt's, {sum(each['failed'] for each in traffic):,} failed. Ready after "
        f"{many['ready_s']:.1f} s with {many['prompts']:,} prompts and {few['ready_s']:.1f} s with "
        f"{few['prompts']:,}; then {many['ready_bytes'] / 2**20:,.0f} and "
        f"{few['ready_bytes'] / 2**20:,.0f} MiB, {many['bytes'] / 2**20:,.0f} MiB after the "
        f"traffic. Of ten prompts six are vectors and one keys and values for labels, three "
        f"vectors for texts of 16 tokens; names follow Zipf's law "
        f"(s = {plan['zipf']}), 64 clients. {Path(plan['backbone']).name} in {plan['dtype']}."
    )
    return "\n".join([*lines, "", about, "", machine_line(results)])


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
