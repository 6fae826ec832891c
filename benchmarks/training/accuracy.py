"""CPU time until a validation accuracy is reached: PEFT's run, then ours to the same figure.

Both start from the same text. PEFT trains as its users do (batches of 16, cross-entropy over the
vocabulary), we as `cuecard train` does by default (batches of 8, cross-entropy over the labels).
PEFT's run is made in bf16; what it takes in fp32 is reckoned from steps of both on batches of the
same kind, since three whole runs would take most of an hour.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from operator import itemgetter
from statistics import mean
from typing import Any

import torch

from benchmarks.review_task import SPEC, review_task
from benchmarks.training.contestants import Ours, Peft
from cuecard import TrainConfig, load_backbone
from cuecard.evaluation.predict import predict
from cuecard.tasks import batches_by_length, draw_rows
from cuecard.training.optim import default_lr
from cuecard.types import Backbone, Encoded, InputTokens, Record

VALIDATION_ROWS, LENGTH = 240, 20
LOOK_EVERY, LOOK_ROWS = 10, 24
PEFT_BATCH, OUR_BATCH = 16, TrainConfig().batch_rows
PEFT_LR = 3e-3


@cache
def _backbone(name: str, wrapped: bool = False) -> Backbone:
    """One for training and looking; PEFT keeps what it wraps."""
    return load_backbone(name, dtype="bf16")


def summary(
    runs: Sequence[dict[str, Any]], peft_steps: int, fp32_over_bf16: float | None
) -> dict[str, Any]:
    """The seeds' runs and the ratios of their means.

    Args:
        fp32_over_bf16: how much more CPU time PEFT's step takes in fp32; None if nobody knows.
    """
    found: dict[str, Any] = {
        "name": "time to accuracy",
        "peft_steps": peft_steps,
        "threads": runs[0]["threads"],
        "runs": list(runs),
    }
    # A seed that never gets there would flatter the others' mean: then there is no ratio.
    arrived = all(run["ours_cpu_s"] is not None for run in runs)
    peft = mean(run["peft_bf16_cpu_s"] for run in runs)
    ratio = mean(run["ours_cpu_s"] for run in runs) / peft if arrived else None
    found["ratio_fp32"] = ratio / fp32_over_bf16 if ratio and fp32_over_bf16 else None
    found["ratio_bf16"] = ratio
    return found


def time_to_accuracy(name: str, reviews: str | None, seed: int, steps: int) -> dict[str, Any]:
    """What PEFT reaches in its run of so many steps and after how long we reach the same."""
    task = review_task(reviews, 0)
    judge = _backbone(name)
    rows = [task.spec.encode(record, judge.tokenizer) for record in task.train]
    seen = draw_rows(task.validation, VALIDATION_ROWS, "benchmark")
    batches = _order(rows, seed, steps, PEFT_BATCH)
    text = judge.tokenizer.encode("Is this review positive or negative? " * 5)[:LENGTH]
    start = judge.embeddings[torch.tensor(text)].float()
    peft = Peft(_backbone(name, wrapped=True).model, start, PEFT_LR)
    peft_cpu = sum(_cpu(peft.step, batch) for batch in batches)
    right = right_answers(judge, peft.vectors.detach().float(), seen)
    goal = sum(right) / len(right)
    # What PEFT has wrong comes first, for ours is likely to: most looks then end early.
    seen = tuple(row for _, row in sorted(zip(right, seen, strict=True), key=itemgetter(0)))
    ours = Ours(judge, start, default_lr(TrainConfig(), judge.embeddings), "labels")
    ours_batches = _order(rows, seed, 2 * steps, OUR_BATCH)
    reached, step = _arrival(
        ours, ours_batches, lambda vectors: reaches(judge, vectors, seen, goal)
    )
    print(
        f"seed {seed}, PEFT: {goal:.3f} after {peft_cpu:.0f} CPU-s in bf16; ours after "
        f"{'never' if reached is None else f'{reached:.0f}'} ({step} steps)",
        file=sys.stderr,
        flush=True,
    )
    return {
        "seed": seed,
        "threads": torch.get_num_threads(),
        "accuracy": goal,
        "peft_bf16_cpu_s": peft_cpu,
        "ours_cpu_s": reached,
        "ours_steps": step,
    }


def _arrival(
    ours: Ours, batches: Sequence[Sequence[Encoded]], there: Callable[[torch.Tensor], bool]
) -> tuple[float | None, int]:
    """CPU-seconds of training and steps until there; None and all steps if never.

    Looking costs more than training: every second mark is looked at, and the one before the first
    that is there.
    """
    spent, before, step = 0.0, (0.0, 0, ours.vectors.detach().clone()), 0
    for step, batch in enumerate(batches, 1):
        spent += _cpu(ours.step, batch)
        if step % (2 * LOOK_EVERY) == LOOK_EVERY:
            before = (spent, step, ours.vectors.detach().clone())
        elif step % LOOK_EVERY == 0 and there(ours.vectors.detach()):
            return before[:2] if there(before[2]) else (spent, step)
    return None, step


def right_answers(backbone: Backbone, vectors: torch.Tensor, rows: Sequence[Record]) -> list[bool]:
    """Whether each answer under a prompt is right."""
    answers = predict(backbone, SPEC, rows, InputTokens(vectors))
    return [a.answer == row.target for a, row in zip(answers, rows, strict=True)]


def reaches(backbone: Backbone, vectors: torch.Tensor, rows: Sequence[Record], goal: float) -> bool:
    """Whether the accuracy is at least the goal; asks no more rows than it takes to know."""
    wrong = 0
    for begin in range(0, len(rows), LOOK_ROWS):
        some = rows[begin : begin + LOOK_ROWS]
        wrong += len(some) - sum(right_answers(backbone, vectors, some))
        if wrong > round(len(rows) * (1 - goal)):
            return False
    return True


def _order(rows: Sequence[Encoded], seed: int, steps: int, size: int) -> list[list[Encoded]]:
    lengths = [len(row.context) for row in rows]
    batches: list[list[Encoded]] = []
    epoch = 0
    while len(batches) < steps:
        order = batches_by_length(lengths, size, None, seed, epoch)
        batches += [[rows[index] for index in batch] for batch in order]
        epoch += 1
    return batches[:steps]


def _cpu(step: Callable[[Sequence[Encoded]], Any], batch: Sequence[Encoded]) -> float:
    begun = time.process_time()
    step(batch)
    return time.process_time() - begun
