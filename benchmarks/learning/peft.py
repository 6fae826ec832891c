"""PEFT's prompt tuning within a budget, beside which `benchmarks.learning` is run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch

from benchmarks.training.contestants import Peft
from cuecard import Task, load_backbone
from cuecard.evaluation.evaluate import evaluate
from cuecard.tasks import batches_by_length
from cuecard.tasks.encoding.batching import row_lengths
from cuecard.training.objective.validation import validate
from cuecard.types import Backbone, Encoded, InputTokens

RATES = (0.01, 0.03, 0.1)
LENGTH, BATCH = 20, 8
_RACE, _LEAST = 1 / 3, 10
_TEXT = "Classify the text with one of these labels: "


@dataclass
class _Tuning:
    """A model of PEFT in training.

    Attributes:
        seconds: of CPU so far.
    """

    backbone: Backbone
    task: Task
    rows: Sequence[Encoded]
    seed: int
    seconds: float = 0.0

    def run(self, rate: float, steps: int) -> torch.Tensor:
        """The prompt [20, H] after so many steps, with a linear warm-up and decay."""
        began = time.process_time()
        peft = Peft(_own(self.backbone.name).model, self._start(), lr=rate)
        warmup = max(1, steps // 10)
        for number, batch in zip(range(steps), self._batches(), strict=False):
            share = min((number + 1) / warmup, (steps - number) / (steps - warmup + 1))
            peft.optimizer.param_groups[0]["lr"] = rate * share
            peft.step(batch)
        found = peft.vectors.detach().clone()
        self.seconds += time.process_time() - began
        return found

    def score(self, vectors: torch.Tensor) -> tuple[float, dict[str, float] | None]:
        """Validation loss, and what calibration takes off the labels."""
        began = time.process_time()
        task, injection = self.task, InputTokens(vectors)
        found = validate(self.backbone, task.spec, task.validation, injection, "prefix")
        self.seconds += time.process_time() - began
        return found.loss, found.prior

    def _start(self) -> torch.Tensor:
        """As `PromptTuningInit.TEXT` does it: a text's tokens, repeated."""
        text = _TEXT + ", ".join(self.task.spec.labels)
        ids = self.backbone.tokenizer.encode(text, add_special_tokens=False)
        chosen = (list(ids) * LENGTH)[:LENGTH]
        return self.backbone.embeddings[chosen].float().clone()

    def _batches(self) -> Iterator[list[Encoded]]:
        lengths, epoch = row_lengths(self.rows), 0
        while True:
            for batch in batches_by_length(lengths, BATCH, None, self.seed, epoch):
                yield [self.rows[index] for index in batch]
            epoch += 1


def run_peft(
    backbone: Backbone, task: Task, budget: float, seed: int
) -> tuple[Mapping[str, float], float, int, str]:
    """Prompt tuning of 20 vectors from a text; the best of three rates in short runs goes on.

    Its prompt is calibrated and tested as cuecard's own are.
    """
    rows = task.spec.encode_rows(task.train, backbone.tokenizer, "prefix")
    tuning = _Tuning(backbone, task, rows, seed)
    tuning.run(RATES[0], 1)  # what only a first step takes
    tuning.seconds = 0.0
    tuning.run(RATES[0], 1)
    once = tuning.seconds
    tuning.run(RATES[0], 4)
    step = (tuning.seconds - 2 * once) / 3  # without what it takes to begin
    before = tuning.seconds
    tuning.score(tuning.run(RATES[0], 1))
    look = tuning.seconds - before - step
    tuning.seconds = 0.0
    short = int((budget * _RACE - len(RATES) * look) / len(RATES) / step)
    rate = RATES[1]
    if short >= _LEAST:
        losses = {each: tuning.score(tuning.run(each, short))[0] for each in RATES}
        rate = min(losses, key=lambda each: losses[each])
    steps = max(_LEAST, int((budget - tuning.seconds - look) / step))
    vectors = tuning.run(rate, steps)
    _, prior = tuning.score(vectors)
    found = evaluate(backbone, task.spec, task.test, InputTokens(vectors), prior=prior)
    note = f"rate {rate:g}{' of 3' if short >= _LEAST else ''}, {steps} steps"
    return found.metrics, tuning.seconds, vectors.numel(), note


@cache
def _own(name: str) -> Backbone:
    """A backbone of its own: PEFT keeps what it wraps."""
    return load_backbone(name, dtype="fp32")
