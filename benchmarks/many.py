"""What many prompts in one pass save: `python -m benchmarks.many`.

Steps of 1, 2, 4 and 8 prompts, each with its own vectors, optimiser and real reviews, together and
one after the other, taking turns in one process. Medians of CPU time, per prompt and step.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import alternate, machine
from benchmarks.review_task import SPEC, review_task
from cuecard import load_backbone
from cuecard.tasks import batches_by_length
from cuecard.training.objective.loss import PromptBatch, batch_losses
from cuecard.types import Backbone, Encoded, InputTokens

COUNTS = (1, 2, 4, 8)


class Prompts:
    """Prompts [P, H] on one backbone, each with its optimiser and its own order of batches."""

    def __init__(
        self, backbone: Backbone, rows: Sequence[Encoded], count: int, options: Any
    ) -> None:
        self._backbone = backbone
        start = backbone.embeddings[200 : 200 + options.prompt].float()
        self._vectors = [start.clone().requires_grad_(True) for _ in range(count)]
        self._optimizers = [torch.optim.AdamW([v], lr=1e-3) for v in self._vectors]
        lengths = [len(row.context) for row in rows]
        self._batches = [
            itertools.cycle(
                [rows[i] for i in batch]
                for batch in batches_by_length(lengths, options.rows, None, seed, 0)
            )
            for seed in range(count)
        ]

    def step(self, size: int) -> None:
        """A step of every prompt, `size` of them in a pass."""
        for first in range(0, len(self._vectors), size):
            which = slice(first, first + size)
            parts = [
                PromptBatch(SPEC, next(batches), InputTokens(vectors), "labels")
                for batches, vectors in zip(self._batches[which], self._vectors[which], strict=True)
            ]
            for optimizer in self._optimizers[which]:
                optimizer.zero_grad(set_to_none=True)
            losses = batch_losses(self._backbone, parts)
            torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
            for optimizer in self._optimizers[which]:
                optimizer.step()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a line per count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="smollm2-135m-instruct")
    parser.add_argument("--rows", type=int, default=8, help="per prompt and step")
    parser.add_argument("--prompt", type=int, default=20, help="vectors")
    parser.add_argument("--rounds", type=int, default=5, help="kept steps per count")
    parser.add_argument("--reviews", help="labelled rows; the catalogue's reviews by default")
    parser.add_argument("--out", type=Path, help="also write the numbers there, as JSON")
    options = parser.parse_args(arguments)
    backbone = load_backbone(options.backbone)
    task = review_task(options.reviews, 0)
    rows = [task.spec.encode(record, backbone.tokenizer) for record in task.train]
    found = []
    for count in COUNTS:
        found.append(case := measure(backbone, rows, count, options))
        print(
            f"{count} prompts: {case['together_cpu_s']:.3f} CPU-s a prompt and step "
            f"({case['together_wall_s']:.3f} s) in one pass, {case['alone_cpu_s']:.3f} "
            f"({case['alone_wall_s']:.3f} s) one after the other",
            flush=True,
        )
    if options.out is not None:
        options.out.write_text(json.dumps({"cases": found, "machine": machine()}, indent=2) + "\n")
    return 0


def measure(
    backbone: Backbone, rows: Sequence[Encoded], count: int, options: Any
) -> dict[str, float]:
    """Seconds per prompt and step, in one pass and one after the other."""
    work: dict[str, Callable[[], None]] = {}
    for name, size in (("together", count), ("alone", 1)):
        prompts = Prompts(backbone, rows, count, options)
        work[name] = lambda prompts=prompts, size=size: prompts.step(size)  # type: ignore[misc]
    taken = alternate(work, options.rounds)
    return {"prompts": count} | {
        f"{name}_{unit}": taken[name][unit] / count for name in work for unit in ("cpu_s", "wall_s")
    }


if __name__ == "__main__":
    sys.exit(main())
