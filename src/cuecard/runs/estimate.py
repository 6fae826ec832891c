"""How long a run will take on this machine: its work in tokens, and the rate of one step."""

from __future__ import annotations

import time
from dataclasses import dataclass

from cuecard.training.budget.validation_plan import LONG_LIST, forward_tokens, label_tokens
from cuecard.training.race.pace import two_passes
from cuecard.training.setup import TrainSetup
from cuecard.training.sweeps.learning_rates import trial_steps
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
    with setup.trainable.attached(setup.start):
        _, timed = two_passes(setup, time.perf_counter)
    rate = timed.forward / max(timed.tokens, 1)
    labels = label_tokens(backbone, task)
    opened = labels * _OPENED if labels >= LONG_LIST else labels
    validation = plan.tokens * plan.count
    if plan.brief:
        some = task.validation[: plan.rows]
        held_out = task.spec.encode_rows(some, backbone.tokenizer, slot)
        validation += forward_tokens(held_out, length, int(opened))
    tested = task.spec.encode_rows(task.test, backbone.tokenizer, slot)
    return Estimate(
        steps=timed.whole * (config.steps + trial_steps(config)) * config.accumulation,
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
