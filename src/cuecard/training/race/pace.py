"""What a contestant's steps and validations take on this machine."""

from __future__ import annotations

import time

from cuecard.tasks import batches_by_length
from cuecard.tasks.encoding.batching import row_lengths
from cuecard.training.objective.label_sample import sample_for
from cuecard.training.objective.loss import PromptBatch, batch_losses
from cuecard.training.race.plan import Cost
from cuecard.training.setup import TrainSetup
from cuecard.training.trainables.head import head_of


def measure(setup: TrainSetup) -> Cost:
    """Run a batch of median length forward and backward, twice. Nothing is changed.

    The first time readies the model, and computes the batch's inputs where they are cached.
    """
    backbone, counts = setup.backbone, dict(setup.backbone.counts)
    lengths = row_lengths(setup.rows)
    config = setup.config
    batches = batches_by_length(lengths, config.batch_rows, config.batch_tokens, config.seed, 0)
    batch = sorted(batches, key=lambda some: sum(lengths[i] for i in some))[len(batches) // 2]
    rows = [setup.rows[index] for index in batch]
    drawn = setup.loss == "labels" and setup.soft is None
    sample = sample_for(backbone, setup.spec, rows, (config.seed, 0, 0)) if drawn else None
    times: list[tuple[float, float]] = []
    for _ in range(2):
        began = time.process_time()
        injection, head = setup.start.injection(), head_of(setup.start)
        part = PromptBatch(setup.spec, rows, injection, setup.loss, head=head, sample=sample)
        (loss,) = batch_losses(backbone, [part])
        forward = time.process_time() - began
        loss.backward()  # type: ignore[no-untyped-call]
        times.append((forward, time.process_time() - began))
    for parameter in setup.start.parameters():
        parameter.grad = None
    backbone.counts.update(counts)
    (first, _), (forward, step) = times
    held_out = len(setup.task.validation)
    every = len(setup.rows) + held_out
    inputs = max(first - forward, 0.0) * every / len(rows) if setup.leaves_inputs else 0.0
    return Cost(
        step * config.accumulation, validation=forward * held_out / len(rows), inputs=inputs
    )
