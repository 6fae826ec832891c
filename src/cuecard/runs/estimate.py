"""How long a run will take on this machine: its work in tokens, and the rate of one step."""

from __future__ import annotations

import time
from dataclasses import dataclass

from cuecard.tasks import batches_by_length
from cuecard.tasks.encoding.batching import row_lengths
from cuecard.training.budget.validation_plan import LONG_LIST, forward_tokens, label_tokens
from cuecard.training.objective.label_sample import sample_for
from cuecard.training.objective.loss import PromptBatch, batch_losses
from cuecard.training.setup import TrainSetup
from cuecard.training.sweeps.learning_rates import trial_steps
from cuecard.training.trainables.head import head_of
from cuecard.validation_text import counted

# Of a long list of labels so much is run where answers are tested; see `score_likely`.
_OPENED = 0.5
_SHORT_RUN = 90  # seconds that are said as seconds


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds of a run's parts, without the comparison.

    Attributes:
        steps: of all training steps, those of `lr: auto`'s trials too.
        validation: of all validations, that of the best step on all labels too.
        test: of the test.
    """

    steps: float
    validation: float
    test: float

    @property
    def seconds(self) -> float:
        """Of all of it."""
        return self.steps + self.validation + self.test

    def times(self, seeds: int) -> Estimate:
        """Of so many runs."""
        return Estimate(seeds * self.steps, seeds * self.validation, seeds * self.test)


def estimate_run(setup: TrainSetup) -> Estimate:
    """Time one step's passes, forward and backward, and scale them to the run's tokens.

    The second of two passes counts, since the first one readies the model. Nothing is changed.
    """
    backbone, task, config, plan = setup.backbone, setup.task, setup.config, setup.validations
    slot, length = setup.slot, setup.start.injection().length
    forward, step, tokens = _passes(setup)
    rate = forward / max(tokens, 1)
    labels = label_tokens(backbone, task)
    opened = labels * _OPENED if labels >= LONG_LIST else labels
    validation = plan.tokens * plan.count
    if plan.brief:
        some = task.validation[: plan.rows]
        held_out = task.spec.encode_rows(some, backbone.tokenizer, slot)
        validation += forward_tokens(held_out, length, int(opened))
    tested = task.spec.encode_rows(task.test, backbone.tokenizer, slot)
    return Estimate(
        steps=step * (config.steps + trial_steps(config)) * config.accumulation,
        validation=rate * validation,
        test=rate * forward_tokens(tested, length, int(opened)),
    )


def about(seconds: float) -> str:
    """ "about 40 seconds", "about 5 minutes", "about 3 hours" """
    if seconds < _SHORT_RUN:
        count, unit = max(1, round(seconds)), "second"
    elif seconds < 60 * _SHORT_RUN:
        count, unit = round(seconds / 60), "minute"
    else:
        count, unit = round(seconds / 3600), "hour"
    return f"about {counted(count, unit)}"


def _passes(setup: TrainSetup) -> tuple[float, float, int]:
    """Seconds of one batch's pass forward, of it with its pass backward, and its tokens."""
    backbone, config, start = setup.backbone, setup.config, setup.start
    lengths = row_lengths(setup.rows)
    batches = batches_by_length(lengths, config.batch_rows, config.batch_tokens, config.seed, 0)
    # A batch of median length is taken for all of them.
    batch = sorted(batches, key=lambda some: sum(lengths[i] for i in some))[len(batches) // 2]
    rows = [setup.rows[index] for index in batch]
    spec, counts = setup.task.spec, dict(backbone.counts)
    drawn = setup.loss == "labels"
    sample = sample_for(backbone, spec, rows, (config.seed, 0, 0)) if drawn else None
    forward = whole = 0.0
    tokens = 0
    for _ in range(2):
        before, began = backbone.counts["tokens"], time.perf_counter()
        part = PromptBatch(
            spec, rows, start.injection(), setup.loss, head=head_of(start), sample=sample
        )
        (loss,) = batch_losses(backbone, [part])
        forward, tokens = time.perf_counter() - began, backbone.counts["tokens"] - before
        loss.backward()  # type: ignore[no-untyped-call]
        whole = time.perf_counter() - began
    for parameter in start.parameters():
        parameter.grad = None
    backbone.counts.update(counts)
    return forward, whole, tokens
