"""`--lr auto`: a few learning rates for a few steps, judged by the loss on the validation rows."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

from cuecard.errors import TrainingError
from cuecard.tasks import draw_rows
from cuecard.training.config import TrainConfig
from cuecard.training.loop import run_loop, stopped_run
from cuecard.training.objective.validation import Validation
from cuecard.training.setup import TrainSetup
from cuecard.training.storage.checkpoint import Checkpoint, State
from cuecard.training.storage.log import RunLog
from cuecard.training.trainer import Trainer

_FACTORS = (0.3, 1.0, 3.0)
# To compare rates takes fewer rows than to choose a step.
_ROWS = 200
# A trial's steps: a tenth of the run's, so that the trials together cost a third of its steps at
# most, but no fewer than Adam needs to tell rates apart, and no more than that takes.
_SHARE, _FEWEST, _MOST = 10, 20, 60


def choose_lr(setup: TrainSetup, state: State, log: RunLog) -> float:
    """Train a few steps at a few rates, all in one pass; the lowest validation loss wins.

    The rates are the default of what is trained, and others around it. The default stays where no
    rate gives a lower loss than the start has.

    Args:
        state: the run's, which what the trials cost is added to.

    Raises:
        TrainingError: every rate diverged.
    """
    base = setup.trainable.default_lr(setup.backbone, setup.config)
    rates = [base if factor == 1 else float(f"{base * factor:.3g}") for factor in _FACTORS]
    config = trial_config(setup.config)
    validations = replace(setup.validations, every=config.steps)
    short = replace(setup.unpooled, config=config, validations=validations)
    few = draw_rows(setup.task.validation, _ROWS, "lr")
    first = cache(lambda: setup.validate(setup.start, few))  # the start is the same for all rates

    def trainer(lr: float, trial: State) -> Trainer:
        method = setup.new_method()

        def score() -> Validation:
            return setup.validate(method, few) if trial.validations else first()

        return Trainer(short, method, lr, trial, RunLog(None), score=score)

    checkpoint = Checkpoint(key="", runs=[State() for _ in rates])
    run_loop(
        [trainer(lr, trial) for lr, trial in zip(rates, checkpoint.runs, strict=True)],
        checkpoint,
        folder=None,
        every=config.steps,
        stopped=lambda: stopped_run(checkpoint, config.steps, None, ""),
    )
    losses: dict[float, float] = {}
    for lr, trial in zip(rates, checkpoint.runs, strict=True):
        losses[lr] = math.inf if trial.error else trial.validations[-1][1]
        log.write("lr", lr=lr, loss=None if trial.error else losses[lr], steps=config.steps)
        state.spend_as(trial)
    _, start = checkpoint.runs[0].validations[0]
    return _chosen(losses, base, start)


def trial_config(config: TrainConfig) -> TrainConfig:
    """A run's settings for a trial of a rate.

    A trial is a short run of its own: its rate warms up and decays to zero. At a constant rate the
    last steps' noise, which grows with the rate, would count against large rates that a decay
    suits best (Wu et al. 2018, arXiv:1803.02021, on judging rates by a few steps).
    """
    steps = min(config.steps, max(_FEWEST, min(_MOST, config.steps // _SHARE)))
    warmup = max(2, config.warmup * steps // config.steps)
    changes = {"steps": steps, "warmup": warmup, "schedule": "cosine", "select": "loss"}
    return config.model_copy(update={**changes, "patience": 0})


def trial_steps(config: TrainConfig) -> int:
    """Steps of all trials together; none where the rate is not chosen by them."""
    return len(_FACTORS) * trial_config(config).steps if config.lr == "auto" else 0


def _chosen(losses: dict[float, float], default: float, start: float) -> float:
    """The rate with the lowest loss, or the default where none is below the start's.

    Raises:
        TrainingError: every rate diverged.
    """
    best = min(losses, key=lambda lr: (losses[lr], lr != default))
    if not math.isfinite(losses[best]):
        raise TrainingError(
            "every learning rate of the sweep diverged",
            where="lr auto",
            got=", ".join(f"{lr:.3g}" for lr in losses),
            hint="give a smaller --lr",
        )
    return default if losses[best] >= start and math.isfinite(losses[default]) else best
