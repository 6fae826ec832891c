"""A short sweep over learning rates, judged by the loss on the validation rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from cuecard.errors import TrainingError
from cuecard.interrupts import may_cut
from cuecard.training.job import Job
from cuecard.training.loop import run_loop, stopped_run
from cuecard.training.optim import default_lr
from cuecard.training.storage.checkpoint import Checkpoint, State
from cuecard.training.storage.log import RunLog
from cuecard.training.trainer import Member
from cuecard.training.validation import Validation
from cuecard.types import Method

_STEPS = 20
_FACTORS = (0.25, 1.0, 4.0)


def sweep_lr(
    job: Job,
    make: Callable[[], Method],
    validate: Callable[[Method], Validation],
    log: RunLog,
) -> float:
    """Train a few steps at a few rates, all in one pass; the lowest validation loss wins.

    Args:
        make: makes the method anew, always the same.
        validate: scores a method on (a part of) the validation rows.

    Raises:
        TrainingError: every rate diverged.
    """
    steps = min(_STEPS, job.config.steps)
    short = job.config.model_copy(
        update={
            "steps": steps,
            "eval_every": steps,
            "warmup": 2,
            "schedule": "constant",
            "select": "loss",
        }
    )
    base = default_lr(job.config, job.backbone.embeddings)
    rates = [float(f"{base * factor:.3g}") for factor in _FACTORS]
    with may_cut():
        start = validate(make())
    brief = replace(job, config=short, looks=None)
    members = [_member(brief, make(), lr, start, validate) for lr in rates]
    checkpoint = Checkpoint(key="", runs=[member.state for member in members])
    run_loop(
        members,
        checkpoint,
        folder=None,
        every=steps,
        stopped=lambda: stopped_run(checkpoint, steps, None),
    )
    tried: dict[float, float] = {}
    for lr, state in zip(rates, checkpoint.runs, strict=True):
        tried[lr] = math.inf if state.error else state.looks[-1][1]
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


def _member(
    job: Job,
    method: Method,
    lr: float,
    start: Validation,
    validate: Callable[[Method], Validation],
) -> Member:
    """One rate's run; the start, the same for all rates, was validated before."""
    state = State()

    def look() -> Validation:
        return validate(method) if state.looks else start

    return Member(job, method, lr, look, state, RunLog(None))
