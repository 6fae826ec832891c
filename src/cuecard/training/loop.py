"""The training loop, for one prompt or for many on one backbone: read top to bottom."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cuecard.errors import Interrupted
from cuecard.interrupts import Interrupts, Stop, heeding
from cuecard.lazy import torch
from cuecard.training.budget.activation_checkpointing import recomputing
from cuecard.training.loss import batch_losses
from cuecard.training.storage.checkpoint import Checkpoint
from cuecard.training.trainer import Member

# Passes that a token of an optimizer step costs. The backbone is frozen, so that the backward pass
# makes the gradients of activations alone, as much work as the forward pass.
STEP_PASSES = 2


def run_loop(
    members: list[Member],
    checkpoint: Checkpoint,
    *,
    folder: Path | None,
    every: int,
    stopped: Callable[[], Interrupted],
    more: Callable[[], None] = lambda: None,
) -> None:
    """Train every member to its end; each one's method then holds its best step.

    All members that are not at their end make each step together, in one pass of the backbone,
    each with its own rows, prompt, optimiser and schedule. What happens to one is nothing to the
    others: it may end earlier, or diverge.

    Args:
        members: on one backbone; their states are the checkpoint's.
        folder: where checkpoints go; None keeps none.
        every: rounds between checkpoints.
        stopped: what to raise after Ctrl-C.
        more: called before every round; it may add members and their states. What it adds may
            depend on the members' states alone, or a resumed run ends otherwise.

    Raises:
        Interrupted: Ctrl-C, after a checkpoint.
    """

    def save() -> None:
        for member in members:
            member.gather()
        if folder is not None:
            checkpoint.save(folder)

    clock = _Clock()
    with heeding() as interrupts:
        try:
            # What was due when an earlier sitting was stopped, before anything else.
            _look([member for member in members if member.left_unseen], clock)
            _rounds(members, checkpoint, clock, interrupts, every, save, more)
        except Stop:
            save()
            raise stopped() from None
    save()
    for member in members:
        member.keep_best()


def _rounds(
    members: list[Member],
    checkpoint: Checkpoint,
    clock: _Clock,
    interrupts: Interrupts,
    every: int,
    save: Callable[[], None],
    more: Callable[[], None],
) -> None:
    """Steps and validations, until no member trains any more.

    Raises:
        Stop: after Ctrl-C, with no step and no validation half done.
    """
    while True:
        more()
        running = [member for member in members if not member.over]
        if not running:
            break
        fresh = [member for member in running if not member.begun]
        _look(fresh, clock)
        if fresh:
            save()
            running = [member for member in running if not member.over]
        if running:
            _step(running, clock)
            checkpoint.rounds += 1
        _look([member for member in running if member.due and not member.over], clock)
        ended = any(member.over for member in running)
        if interrupts.asked:
            raise Stop
        if checkpoint.rounds % every == 0 or ended:
            save()


def _step(members: Sequence[Member], clock: _Clock) -> None:
    """One optimiser step of each member, over one or more batches."""
    started = time.monotonic()
    passes = [member.begin_step() for member in members]
    backbone = members[0].job.backbone
    before = backbone.counts["tokens"]
    recompute = any(member.job.recompute for member in members)
    for number in range(max(passes)):
        asking = [m for m, count in zip(members, passes, strict=True) if number < count]
        parts = [feed.part(number) for member in asking for feed in member.feeds]
        with recomputing(backbone, recompute):
            losses = iter(batch_losses(backbone, parts))
            shares = [member.share([next(losses) for _ in member.feeds]) for member in asking]
            # Each depends on its own member's parameters alone, so that their sum has each one's
            # gradient.
            torch.stack(shares).sum().backward()  # type: ignore[no-untyped-call]
    for member in members:
        member.end_step(time.monotonic() - started)
    clock.charge(members, STEP_PASSES * (backbone.counts["tokens"] - before))


def _look(members: Sequence[Member], clock: _Clock) -> None:
    for member in members:
        backbone = member.job.backbone
        before = backbone.counts["tokens"]
        member.look()
        clock.charge([member], backbone.counts["tokens"] - before)


class _Clock:
    """Shares out the seconds since it was last asked, and the tokens run in them."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.monotonic()

    def charge(self, members: Sequence[Member], tokens: int) -> None:
        """To these members alike."""
        cpu, wall = time.process_time(), time.monotonic()
        for member in members:
            share = len(members)
            member.spend((cpu - self._cpu) / share, (wall - self._wall) / share, tokens / share)
        self._cpu, self._wall = cpu, wall


def stopped_run(
    checkpoint: Checkpoint, steps: int, folder: Path | None, how: str | None = None
) -> Interrupted:
    """What a run on its own ends with after Ctrl-C."""
    on = how or f"go on with: cuecard train --resume {folder}"
    (state,) = checkpoint.runs[:1]
    what = f"stopped after step {state.step} of {steps}"
    return Interrupted(
        what if state.ended is None else "stopped after the training, before the end of its test",
        where=None if folder is None else str(folder),
        hint="nothing was kept" if folder is None else f"the checkpoint is saved; {on}",
    )
