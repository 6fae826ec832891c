"""What a contestant's steps and validations take on this machine."""

from __future__ import annotations

import time
from dataclasses import dataclass

from cuecard.tasks import batches_by_length
from cuecard.tasks.encoding.batching import row_lengths
from cuecard.training.objective.label_sample import sample_for
from cuecard.training.objective.loss import PromptBatch, batch_losses
from cuecard.training.race.plan import Cost
from cuecard.training.setup import TrainSetup
from cuecard.training.trainables.head import head_of


def measure(setup: TrainSetup, cached: int | None = None) -> Cost:
    """Run a batch of median length forward and backward, twice. Nothing is changed.

    The first time readies the model, and computes inputs where they are cached.

    Args:
        cached: tokens of all inputs, if they are.
    """
    backbone, counts = setup.backbone, dict(setup.backbone.counts)
    lengths = row_lengths(setup.rows)
    config = setup.config
    batches = batches_by_length(lengths, config.batch_rows, config.batch_tokens, config.seed, 0)
    batch = sorted(batches, key=lambda some: sum(lengths[i] for i in some))[len(batches) // 2]
    rows = [setup.rows[index] for index in batch]
    drawn = setup.loss == "labels" and setup.soft is None
    sample = sample_for(backbone, setup.spec, rows, (config.seed, 0, 0)) if drawn else None
    passes: list[_Pass] = []
    for _ in range(2):
        began, before = time.process_time(), backbone.counts["tokens"]
        injection, head = setup.start.injection(), head_of(setup.start)
        part = PromptBatch(setup.spec, rows, injection, setup.loss, head=head, sample=sample)
        (loss,) = batch_losses(backbone, [part])
        forward, tokens = time.process_time() - began, backbone.counts["tokens"] - before
        loss.backward()  # type: ignore[no-untyped-call]
        passes.append(_Pass(forward, time.process_time() - began, tokens))
    for parameter in setup.start.parameters():
        parameter.grad = None
    backbone.counts.update(counts)
    first, second = passes
    return Cost(
        step=second.whole * config.accumulation,
        validation=second.forward * len(setup.task.validation) / len(rows),
        inputs=_inputs(first, second, cached) if cached is not None else 0.0,
    )


@dataclass(frozen=True, slots=True)
class _Pass:
    """Seconds of a pass forward, of it with its pass backward, and the tokens run forward."""

    forward: float
    whole: float
    tokens: int


def _inputs(first: _Pass, second: _Pass, tokens: int) -> float:
    """Seconds of so many tokens that are cached, of which the first pass ran some."""
    ran = first.tokens - second.tokens
    return max(first.forward - second.forward, 0.0) * tokens / ran if ran > 0 else 0.0
