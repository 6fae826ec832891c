"""A contestant's set-up in the race, and the best one's after it."""

from __future__ import annotations

import math
from dataclasses import replace

from cuecard.tasks import draw_rows
from cuecard.training.budget.validation_plan import FEWEST_ROWS, plan_validations
from cuecard.training.race.plan import RacePlan
from cuecard.training.setup import TrainSetup

# Rates warm up over at most this share of a race's steps.
_WARM_UP = 5


def cut(setup: TrainSetup, plan: RacePlan) -> TrainSetup:
    """A set-up with as many rows as the budget is for."""
    task = setup.task
    if plan.rows >= len(task.train) and plan.validation_rows >= len(task.validation):
        return setup
    train = draw_rows(task.train, plan.rows, "race")
    validation = draw_rows(task.validation, plan.validation_rows, "race")
    # A record may have several rows: a window each over a long context.
    rows = setup.spec.encode_rows(train, setup.backbone.tokenizer, setup.slot)
    chosen = {id(record) for record in train}
    left = tuple(record for record in task.train if id(record) not in chosen)
    setup = replace(
        setup,
        task=replace(task, train=train, validation=validation),
        rows=rows,
        unrun=left if setup.spec.head == "pooled" else (),
    )
    # A start from training rows is one from those that are left.
    return replace(setup, start=setup.new_method())


def race_setup(setup: TrainSetup, plan: RacePlan) -> TrainSetup:
    """A contestant's set-up for the race: it validates before its first step and at the end."""
    return _with_steps(setup.unpooled, plan, plan.race_steps, plan.race_steps)


def final_setup(setup: TrainSetup, plan: RacePlan, name: str) -> TrainSetup:
    """The best contestant's set-up for its run."""
    steps = plan.final_steps[name]
    return _with_steps(setup, plan, steps, plan.looks and math.ceil(steps / plan.looks))


def _with_steps(setup: TrainSetup, plan: RacePlan, steps: int, every: int | None) -> TrainSetup:
    """A set-up for another number of steps.

    Args:
        every: steps between validations; None as in a run without a race.
    """
    config = setup.config.model_copy(
        update={
            "steps": steps,
            "warmup": min(setup.config.warmup, max(1, steps // _WARM_UP)),
            "eval_every": setup.config.eval_every if every is None else every,
        }
    )
    validations = plan_validations(
        setup.backbone,
        setup.task,
        setup.rows,
        config,
        setup.start.injection().length,
        setup.slot,
        fixed=every is not None,
        brief=True if plan.brief else None,
    )
    if plan.brief:
        validations = replace(validations, rows=min(validations.rows, FEWEST_ROWS))
    return replace(setup, config=config, validations=validations)
