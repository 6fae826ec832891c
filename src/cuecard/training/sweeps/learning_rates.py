"""`--lr auto`: a few learning rates for a few steps, judged by the loss on the validation rows."""

from __future__ import annotations

import math
from dataclasses import replace

from cuecard.errors import TrainingError
from cuecard.interrupts import may_cut
from cuecard.tasks import draw_rows
from cuecard.training.loop import run_loop, stopped_run
from cuecard.training.objective.validation import Validation
from cuecard.training.setup import TrainSetup
from cuecard.training.storage.checkpoint import Checkpoint, State
from cuecard.training.storage.log import RunLog
from cuecard.training.trainer import Trainer

_STEPS = 20
_FACTORS = (0.25, 1.0, 4.0)
# To compare rates takes fewer rows than to choose a step.
_ROWS = 200


def choose_lr(setup: TrainSetup, log: RunLog) -> float:
    """Train a few steps at a few rates, all in one pass; the lowest validation loss wins.

    Raises:
        TrainingError: every rate diverged.
    """
    steps = min(_STEPS, setup.config.steps)
    config = setup.config.model_copy(
        update={
            "steps": steps,
            "warmup": 2,
            "schedule": "constant",
            "select": "loss",
        }
    )
    base = setup.trainable.default_lr(setup.backbone, setup.config)
    rates = [float(f"{base * factor:.3g}") for factor in _FACTORS]
    few = draw_rows(setup.task.validation, _ROWS, "lr")
    with may_cut():
        start = setup.validate(setup.start, few)
    short = replace(setup, config=config, validations=replace(setup.validations, every=steps))

    def trainer(lr: float, state: State) -> Trainer:
        method = setup.new_method()

        def score() -> Validation:  # the start is the same for all rates
            return setup.validate(method, few) if state.validations else start

        return Trainer(short, method, lr, state, RunLog(None), score=score)

    checkpoint = Checkpoint(key="", runs=[State() for _ in rates])
    run_loop(
        [trainer(lr, state) for lr, state in zip(rates, checkpoint.runs, strict=True)],
        checkpoint,
        folder=None,
        every=steps,
        stopped=lambda: stopped_run(checkpoint, steps, None, ""),
    )
    tried: dict[float, float] = {}
    for lr, state in zip(rates, checkpoint.runs, strict=True):
        tried[lr] = math.inf if state.error else state.validations[-1][1]
        log.write("lr", lr=lr, loss=None if state.error else tried[lr], steps=steps)
    best = min(tried, key=lambda lr: tried[lr])
    if not math.isfinite(tried[best]):
        raise TrainingError(
            "every learning rate of the sweep diverged",
            where="lr auto",
            got=", ".join(f"{lr:.3g}" for lr in tried),
            hint="give a smaller --lr",
        )
    return best
