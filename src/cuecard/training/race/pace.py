"""What a run's steps and validations take on this machine, timed on one batch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from cuecard.tasks import batches_by_length
from cuecard.tasks.encoding.batching import row_lengths
from cuecard.training.budget.validation_plan import label_tokens
from cuecard.training.heads.fitted_head import fits_head
from cuecard.training.heads.pooled_head import probe_seconds
from cuecard.training.objective.fluency import FluencyTerm
from cuecard.training.objective.label_sample import sample_for
from cuecard.training.objective.loss import PromptBatch, batch_losses
from cuecard.training.race.plan import Cost
from cuecard.training.setup import TrainSetup
from cuecard.training.trainables.head import head_of

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class TimedPass:
    """What a pass over one batch took.

    Attributes:
        forward, whole: seconds of it forward, and with its pass backward.
        tokens: run forward.
        rows: of the batch.
    """

    forward: float
    whole: float
    tokens: int
    rows: int


def two_passes(setup: TrainSetup, clock: Clock) -> tuple[TimedPass, TimedPass]:
    """Run a batch of median length forward and backward, twice. Nothing is changed.

    The first pass readies the model, and computes inputs where they are cached.

    Args:
        clock: seconds from anywhere.
    """
    backbone, counts, config = setup.backbone, dict(setup.backbone.counts), setup.config
    lengths = row_lengths(setup.rows)
    batches = batches_by_length(lengths, config.batch_rows, config.batch_tokens, config.seed, 0)
    batch = sorted(batches, key=lambda some: sum(lengths[i] for i in some))[len(batches) // 2]
    rows = [setup.rows[index] for index in batch]
    drawn = setup.loss == "labels" and setup.soft is None
    draw = (config.seed, 0, 0)
    sample = sample_for(backbone, setup.spec, rows, draw) if drawn else None
    fluency = FluencyTerm.of(config.fluency, draw)

    def once() -> TimedPass:
        began, before = clock(), backbone.counts["tokens"]
        injection, head = setup.start.injection(), head_of(setup.start)
        part = PromptBatch(
            setup.spec, rows, injection, setup.loss, head=head, sample=sample, fluency=fluency
        )
        (loss,) = batch_losses(backbone, [part])
        forward, tokens = clock() - began, backbone.counts["tokens"] - before
        loss.backward()  # type: ignore[no-untyped-call]
        return TimedPass(forward, clock() - began, tokens, len(rows))

    found = once(), once()
    for parameter in setup.start.parameters():
        parameter.grad = None
    backbone.counts.update(counts)
    return found


def measure(setup: TrainSetup, cached: int | None = None) -> Cost:
    """What a contestant takes in CPU seconds; see `two_passes`.

    Args:
        cached: tokens of all inputs, if they are.
    """
    first, second = two_passes(setup, time.process_time)
    brief = second.forward * len(setup.task.validation) / second.rows
    # A validation reads all labels, of which those of one token are read where the context ends.
    own, labels = second.tokens / second.rows, label_tokens(setup.backbone, setup.task)
    if cached is None and setup.trainable.reads_names:
        # Images that no prompt is in front of are seen once: the second pass ran fewer tokens.
        images = len(setup.task.train) + len(setup.task.validation)
        cached = images * max(row_lengths(setup.rows))
    return Cost(
        step=second.whole * setup.config.accumulation,
        validation=brief * (own + labels) / own if labels else brief,
        brief=brief,
        inputs=_inputs(first, second, cached) if cached is not None else 0.0,
        fit=_fit(setup, brief),
    )


def _fit(setup: TrainSetup, validation: float) -> float:
    """Seconds of a head that is fitted: before the race to all rows, or pooled after the training.

    Args:
        validation: seconds of a pass over the validation rows.
    """
    spec, rows = setup.spec, len(setup.task.train)
    if not fits_head(spec, setup.trainable):
        return 0.0
    if spec.head != "pooled":
        return validation * (1 + rows / len(setup.task.validation))
    return 2 * validation + probe_seconds(setup)


def _inputs(first: TimedPass, second: TimedPass, tokens: int) -> float:
    """Seconds of so many tokens that are cached, of which the first pass ran some."""
    ran = first.tokens - second.tokens
    return max(first.forward - second.forward, 0.0) * tokens / ran if ran > 0 else 0.0
