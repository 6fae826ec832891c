"""The training loop, for one prompt or for many on one backbone: read top to bottom."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cuecard.errors import Interrupted
from cuecard.interrupts import Interrupts, Stop, heeding
from cuecard.lazy import torch
from cuecard.training.budget.activation_checkpointing import recomputing
from cuecard.training.objective.loss import batch_losses
from cuecard.training.parallel.ranks import ALONE, Ranks
from cuecard.training.storage.checkpoint import Checkpoint
from cuecard.training.trainer import Trainer

# Passes that a token of an optimizer step costs. The backbone is frozen, so that the backward pass
# makes the gradients of activations alone, as much work as the forward pass.
STEP_PASSES = 2


def run_loop(
    trainers: list[Trainer],
    checkpoint: Checkpoint,
    *,
    folder: Path | None,
    every: int,
    stopped: Callable[[], Interrupted],
    more: Callable[[], None] = lambda: None,
) -> None:
    """Train every prompt to its end; each one's method then holds its best step.

    All prompts that are not finished make each step together, in one pass of the backbone, each
    with its own rows, optimiser and schedule. Runs are independent: one may stop or diverge without
    affecting the rest.

    Args:
        trainers: on one backbone; their states are the checkpoint's.
        folder: where checkpoints go; None keeps none.
        every: rounds between checkpoints.
        stopped: what to raise after Ctrl-C.
        more: called before every round; it may add trainers and their states. What it adds may
            depend on the trainers' states alone, or a resumed run ends otherwise.

    Raises:
        Interrupted: Ctrl-C, after a checkpoint.
    """

    def save() -> None:
        for trainer in trainers:
            trainer.save_state()
        if folder is not None:
            checkpoint.save(folder)

    clock = _Clock()
    with heeding() as interrupts:
        try:
            # Validations that a run missed when it was stopped, before anything else.
            _validate([trainer for trainer in trainers if trainer.missed_validation], clock)
            _rounds(trainers, checkpoint, clock, interrupts, every, save, more)
        except Stop:
            save()
            raise stopped() from None
    save()
    for trainer in trainers:
        trainer.load_best()


def _rounds(
    trainers: list[Trainer],
    checkpoint: Checkpoint,
    clock: _Clock,
    interrupts: Interrupts,
    every: int,
    save: Callable[[], None],
    more: Callable[[], None],
) -> None:
    """Steps and validations, until all are finished.

    Raises:
        Stop: after Ctrl-C, with no step and no validation half done.
    """
    while True:
        more()
        running = [trainer for trainer in trainers if not trainer.finished]
        if not running:
            break
        fresh = [trainer for trainer in running if not trainer.started]
        _validate(fresh, clock)
        if fresh:
            save()
            running = [trainer for trainer in running if not trainer.finished]
        if running:
            _step(running, clock)
            checkpoint.rounds += 1
        _validate([one for one in running if one.should_validate and not one.finished], clock)
        ended = any(trainer.finished for trainer in running)
        if any(trainers[0].setup.ranks.sums([interrupts.asked])):  # in any of the processes
            raise Stop
        if checkpoint.rounds % every == 0 or ended:
            save()


def _step(trainers: Sequence[Trainer], clock: _Clock) -> None:
    """One optimiser step of each prompt, over one or more batches."""
    started = time.monotonic()
    passes = [trainer.begin_step() for trainer in trainers]
    backbone = trainers[0].setup.backbone
    before = backbone.counts["tokens"]
    recompute = any(trainer.setup.activations.recompute for trainer in trainers)
    for number in range(max(passes)):
        asking = [one for one, count in zip(trainers, passes, strict=True) if number < count]
        parts = [batches.part(number) for trainer in asking for batches in trainer.batches]
        with recomputing(backbone, recompute):
            losses = iter(batch_losses(backbone, parts))
            shares = [one.weighted([next(losses) for _ in one.batches]) for one in asking]
            # Each depends on its own prompt's parameters alone, so that their sum has each one's
            # gradient.
            total = torch.stack(shares).sum()
            if any(part.rows for part in parts):
                total.backward()  # type: ignore[no-untyped-call]
    for trainer in trainers:
        trainer.end_step(time.monotonic() - started)
    ranks = trainers[0].setup.ranks
    clock.charge(trainers, STEP_PASSES * (backbone.counts["tokens"] - before), ranks)


def _validate(trainers: Sequence[Trainer], clock: _Clock) -> None:
    for trainer in trainers:
        backbone = trainer.setup.backbone
        before = backbone.counts["tokens"]
        trainer.validate()
        clock.charge([trainer], backbone.counts["tokens"] - before)


class _Clock:
    """Shares out the seconds since it was last asked, and the tokens run in them."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.monotonic()

    def charge(self, trainers: Sequence[Trainer], tokens: float, ranks: Ranks = ALONE) -> None:
        """To these alike.

        Args:
            ranks: the processes that spent CPU time and tokens at once.
        """
        cpu, wall = time.process_time(), time.monotonic()
        share = len(trainers)
        spent, tokens = ranks.sums([cpu - self._cpu, tokens])
        for trainer in trainers:
            trainer.state.spend(spent / share, (wall - self._wall) / share, tokens / share)
        self._cpu, self._wall = cpu, wall


def stopped_run(
    checkpoint: Checkpoint, steps: int, folder: Path | None, command: str
) -> Interrupted:
    """What a single run ends with after Ctrl-C.

    Args:
        command: what resumes it, without the folder.
    """
    (state,) = checkpoint.runs[:1]
    what = f"stopped after step {state.step} of {steps}"
    if state.ended is not None:
        what = "stopped after the training, before the end of its test"
    return stopped_in(what, folder, command)


def stopped_in(what: str, folder: Path | None, command: str) -> Interrupted:
    """The error after Ctrl-C, with how to resume from the folder."""
    return Interrupted(
        what,
        where=None if folder is None else str(folder),
        hint="nothing was kept"
        if folder is None
        else f"the checkpoint is saved; resume with: {command} --resume {shlex.quote(str(folder))}",
    )
