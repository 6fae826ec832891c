"""Training steps and time to accuracy against PEFT: `make bench-training`.

Contestants take turns in one process; a case's numbers are medians of CPU time. Peak memory is
taken in a process of its own per contestant. Everything goes to benchmarks/results/training.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import PRODUCTS_GFLOP, alternate, machine, products, versions
from benchmarks.memory import peak_bytes, touch
from benchmarks.review_task import review_task
from benchmarks.shares import shares
from benchmarks.tables import TABLES
from benchmarks.training.accuracy import summary, time_to_accuracy
from benchmarks.training.contestants import Contestant, Ours, Peft, linear_flops
from cuecard import load_backbone
from cuecard.backbones.quantization.forms import Precision
from cuecard.tasks import batches_by_length
from cuecard.types import Backbone, Encoded, Placement

NAMES: tuple[Contestant, ...] = ("ours", "peft_fp32", "peft_bf16")
BATCHES = 8
_AT_ONCE = 3  # processes beside each other; the largest takes 5 GB
BACKBONE = "smollm2-135m-instruct"


@dataclass(frozen=True)
class Case:
    """A batch's shape: rows B, tokens T (0: those of real reviews), prompt vectors P."""

    name: str
    rows: int
    tokens: int
    prompt: int
    late: bool = False


REVIEWS = Case("ragged reviews B16 P20", 16, 0, 20)
CASES = (
    Case("B16 T32 P20", 16, 32, 20),
    Case("B16 T32 P100", 16, 32, 100),
    Case("B8 T256 P20 suffix, inputs cached", 8, 256, 20, late=True),
    REVIEWS,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases and write the results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--backbone", default=BACKBONE, help="a name, a folder or a hub id")
    parser.add_argument("--rounds", type=int, default=3, help="kept steps per case")
    parser.add_argument("--only", help="cases whose name contains this")
    parser.add_argument("--seeds", type=int, default=3, help="of time to accuracy; 0 leaves it out")
    parser.add_argument("--peft-steps", type=int, default=150, help="of PEFT's run to accuracy")
    parser.add_argument("--reviews", help="labelled rows; the catalogue's reviews by default")
    parser.add_argument("--out", type=Path, default=TABLES["training"].results)
    options = parser.parse_args(arguments)
    about = {"machine": machine(), "versions": versions()}
    found: list[dict[str, Any]] = []
    cases = [case for case in CASES if options.only is None or options.only in case.name]
    for case in cases:
        found.append(measure(case, options) | about)
        print(_line(found[-1]), flush=True)
    peaks, runs = _side_by_side(cases, options)
    keys = ("ours_peak_bytes", "peft_peak_bytes", "peft_bf16_peak_bytes")
    for measured, own in zip(found, peaks, strict=True):
        measured |= zip(keys, own, strict=True)
    if runs:
        wider = [
            case["peft_fp32_cpu_s"] / case["peft_bf16_cpu_s"]
            for case in found
            if case["name"] == REVIEWS.name
        ]
        found.append(summary(runs, options.peft_steps, wider[0] if wider else None) | about)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=2) + "\n")
    print(f"wrote {options.out}")
    return 0


def measure(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """One case: seconds per step of every contestant."""
    work: dict[str, Callable[[], Any]] = {}
    backbones: dict[str, Any] = {}
    for name in NAMES:
        work[name], backbones[name] = _steps(case, options.backbone, options.reviews, name)
    if case.late:  # the first time fills the cache
        for _ in range(BATCHES):
            work["ours"]()
    backbones["ours"].reset_counts()
    # All of them, so that the contestants' turns begin with the same batch.
    for _ in range(BATCHES):
        work["ours"]()
    tokens = backbones["ours"].counts["tokens"] // BATCHES
    taken = alternate(work | {"products": products(torch.bfloat16)}, options.rounds)
    ours = taken["ours"]["cpu_s"]
    rate = PRODUCTS_GFLOP / taken["products"]["cpu_s"]
    time_shares = shares(work["ours"])
    return {
        "name": case.name,
        **{f"{name}_{unit}": taken[name][unit] for name in NAMES for unit in ("cpu_s", "wall_s")},
        "ratio_fp32": taken["peft_fp32"]["cpu_s"] / ours,
        "ratio_bf16": taken["peft_bf16"]["cpu_s"] / ours,
        "ours_tokens": tokens,
        "bf16_gflop_per_cpu_s": rate,
        "gemm_share": linear_flops(backbones["ours"].model, tokens) / 1e9 / rate / ours,
        "ours_time_shares": time_shares,
    }


def _steps(
    case: Case, name: str, reviews: str | None, contestant: Contestant
) -> tuple[Callable[[], Any], Any]:
    """A step that can be called again and again, batch after batch, and its backbone."""
    backbone = _backbone(name, contestant)
    batches = _batches(case, backbone, reviews)
    start = backbone.embeddings[200 : 200 + case.prompt].float().clone()
    turn = itertools.count()
    side: Ours | Peft
    if contestant == "ours":
        side = Ours(backbone, start)
        backbone.remember([row.context for batch in batches for row in batch if case.late])
    else:
        side = Peft(backbone.model, start)
    return lambda: side.step(batches[next(turn) % len(batches)]), backbone


@cache
def _backbone(name: str, contestant: Contestant) -> Backbone:
    """A contestant's own: PEFT keeps what it wraps."""
    precision: Precision = "fp32" if contestant == "peft_fp32" else "bf16"
    return load_backbone(name, dtype=precision)


def _batches(case: Case, backbone: Backbone, reviews: str | None) -> list[list[Encoded]]:
    if not case.tokens:
        task = review_task(reviews, 0)
        rows = [task.spec.encode(record, backbone.tokenizer) for record in task.train]
        lengths = [len(row.context) for row in rows]
        chosen = batches_by_length(lengths, case.rows, None, 0, 0)[:BATCHES]
        return [[rows[index] for index in batch] for batch in chosen]
    generator = torch.Generator().manual_seed(0)
    size = min(backbone.vocab_size, 40_000)
    ids = torch.randint(4, size, (case.rows, case.tokens + 1), generator=generator).tolist()
    slot = case.tokens if case.late else 0
    return [[Encoded(tuple(row[:-1]), (row[-1],), Placement.at(slot)) for row in ids]]


def _side_by_side(
    cases: Sequence[Case], options: argparse.Namespace
) -> tuple[list[list[int]], list[dict[str, Any]]]:
    """Every case's peaks, a contestant each, and every seed's time to accuracy.

    Each in a process of its own with one thread, so that no core waits for another. Memory is the
    same beside a neighbour; so is CPU time but for the caches, which the contestants of a seed
    share alike.
    """
    context = get_context("forkserver")  # which imports torch and all the rest once
    context.set_forkserver_preload(["benchmarks.training.benchmark"])
    with ProcessPoolExecutor(
        _AT_ONCE, context, torch.set_num_threads, (1,), max_tasks_per_child=1
    ) as pool:
        asked = (options.backbone, options.reviews)
        runs = [
            pool.submit(time_to_accuracy, *asked, seed, options.peft_steps)
            for seed in range(options.seeds)  # first, since they take longest
        ]
        peaks = [[pool.submit(_peak, case, *asked, name) for name in NAMES] for case in cases]
        return [[peak.result() for peak in own] for own in peaks], [run.result() for run in runs]


def _peak(case: Case, backbone: str, reviews: str | None, contestant: Contestant) -> int:
    """Bytes of a contestant's step."""
    step, made = _steps(case, backbone, reviews, contestant)
    touch(made.model)
    return peak_bytes(step)


def _line(found: dict[str, Any]) -> str:
    return (
        f"{found['name']}: {found['ours_cpu_s']:.2f} CPU-s a step, PEFT fp32 "
        f"{found['ratio_fp32']:.1f}x, bf16 {found['ratio_bf16']:.1f}x; "
        f"{found['gemm_share']:.0%} of the matrix rate"
    )
