"""A short sweep over learning rates, judged by the loss on the validation rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from cuecard.errors import TrainingError
from cuecard.training.checkpoint import Checkpoint
from cuecard.training.job import Job
from cuecard.training.log import RunLog
from cuecard.training.loop import run_loop
from cuecard.training.optim import default_lr
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
    """Train a few steps at each of a few rates from one start; the lowest validation loss wins.

    Args:
        make: makes the method anew, always the same.
        validate: scores a method on (a part of) the validation rows.

    Raises:
        TrainingError: every rate diverged.
    """
    steps = min(_STEPS, job.config.steps)
    short = job.config.model_copy(
        update={"steps": steps, "eval_every": steps, "warmup": 2, "schedule": "constant"}
    )
    base = default_lr(job.config, job.backbone.embeddings)
    start = validate(make())
    tried: dict[float, float] = {}
    for lr in (float(f"{base * factor:.3g}") for factor in _FACTORS):
        loss = _loss_after(replace(job, config=short), make(), lr, start, validate)
        tried[lr] = loss
        log.write("lr", lr=lr, loss=loss if math.isfinite(loss) else None, steps=steps)
    best = min(tried, key=lambda lr: tried[lr])
    if not math.isfinite(tried[best]):
        raise TrainingError(
            "every learning rate of the sweep diverged",
            where="lr auto",
            got=", ".join(f"{lr:.3g}" for lr in tried),
            hint="give a smaller --lr",
        )
    return best


def _loss_after(
    job: Job,
    method: Method,
    lr: float,
    start: Validation,
    validate: Callable[[Method], Validation],
) -> float:
    seen: list[Validation] = []

    def look() -> Validation:
        seen.append(validate(method) if seen else start)
        return seen[-1]

    try:
        run_loop(
            job,
            method,
            lr=lr,
            validate=look,
            state=Checkpoint(key=""),
            log=RunLog(None),
            folder=None,
        )
    except TrainingError:
        return math.inf
    return seen[-1].loss
