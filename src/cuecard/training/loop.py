"""The training loop: read top to bottom."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import torch

from cuecard.errors import Interrupted, TrainingError
from cuecard.tasks import batches_by_length
from cuecard.training.checkpoint import Checkpoint
from cuecard.training.config import TrainConfig
from cuecard.training.job import Job
from cuecard.training.log import RunLog
from cuecard.training.loss import batch_loss
from cuecard.training.optim import lr_at, make_optimizer, set_lr
from cuecard.training.validation import Validation
from cuecard.types import Encoded, Method


def run_loop(
    job: Job,
    method: Method,
    *,
    lr: float,
    validate: Callable[[], Validation],
    state: Checkpoint,
    log: RunLog,
    folder: Path | None,
) -> Checkpoint:
    """Train until the last step or until patience runs out; the method ends at its best step.

    Args:
        job: the backbone, the rows and the settings.
        lr: the peak learning rate.
        validate: scores the method as it is now.
        state: where to start; fresh, or read from the folder.
        folder: where checkpoints go; None keeps none.

    Returns:
        The last state; its `best` is what the method holds now.

    Raises:
        Interrupted: Ctrl-C, after a checkpoint.
        TrainingError: the loss became infinite or undefined.
    """
    config = job.config
    optimizer = make_optimizer(config, lr, method.parameters())
    if state.method:
        method.load_state_dict(state.method)
        optimizer.load_state_dict(state.optimizer)
    order = _Order(job.rows, config, state)
    cpu, wall = time.process_time() - state.cpu_seconds, time.monotonic() - state.wall_seconds

    def checkpoint() -> None:
        state.epoch, state.position = order.epoch, order.position
        state.method, state.optimizer = deepcopy(method.state_dict()), optimizer.state_dict()
        state.cpu_seconds, state.wall_seconds = time.process_time() - cpu, time.monotonic() - wall
        state.log_bytes = log.size()
        if folder is not None:
            state.save(folder)

    def look() -> None:
        seen = validate()
        better = state.best_step < 0 or seen.score > state.best_score
        if better:
            state.best, state.best_step = deepcopy(method.state_dict()), state.step
            state.best_score, state.waited = seen.score, 0
        else:
            state.waited += 1
        log.write(
            "validation",
            step=state.step,
            validation_loss=seen.loss,
            validation_accuracy=seen.accuracy,
            commonest=seen.commonest,
            best=better,
        )

    with _interrupts() as interrupted:
        if state.step == 0 and state.best_step < 0:
            look()
            checkpoint()
        while state.step < config.steps and not (0 < config.patience <= state.waited):
            started = time.monotonic()
            now = lr_at(state.step, lr, config)
            set_lr(optimizer, now)
            micro = [order.take() for _ in range(config.accumulation)]
            loss, norm, targets = _step(job, micro, method, optimizer)
            if not math.isfinite(loss):
                raise _diverged(state, loss, now)
            state.step += 1
            log.write(
                "step",
                step=state.step,
                loss=loss,
                lr=now,
                grad_norm=norm,
                targets=targets,
                seconds=round(time.monotonic() - started, 4),
            )
            if state.step % config.validate_every == 0 or state.step == config.steps:
                look()
            if state.step % config.checkpoint_every == 0 or state.step == config.steps:
                checkpoint()
            if interrupted.is_set():
                checkpoint()
                raise _stopped(state, config, folder)
    checkpoint()
    method.load_state_dict(state.best)
    return state


def _step(
    job: Job, micro: Sequence[Sequence[Encoded]], method: Method, optimizer: torch.optim.Optimizer
) -> tuple[float, float, int]:
    """One optimiser step over one or more batches; the loss is the mean over all their targets."""
    optimizer.zero_grad(set_to_none=True)
    per_row = [1 if job.loss == "labels" else len(row.target) for rows in micro for row in rows]
    targets = sum(per_row)
    total = 0.0
    for rows in micro:
        loss, _ = batch_loss(job.backbone, job.spec, rows, method.injection(), job.loss)
        (loss / targets).backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    norm = torch.nn.utils.clip_grad_norm_(method.parameters(), job.config.clip or math.inf)
    if math.isfinite(total) and bool(torch.isfinite(norm)):
        optimizer.step()
    else:
        total = math.nan
    return total / targets, float(norm), targets


class _Order:
    """The endless sequence of batches; epoch and position say exactly where it stands."""

    def __init__(self, rows: Sequence[Encoded], config: TrainConfig, state: Checkpoint) -> None:
        self._rows, self._config = rows, config
        self._lengths = [len(row.context) + len(row.target) for row in rows]
        self.epoch, self.position = state.epoch, state.position
        self._batches = self._shuffle()

    def _shuffle(self) -> list[list[int]]:
        return batches_by_length(
            self._lengths,
            self._config.batch_rows,
            self._config.batch_tokens,
            self._config.seed,
            self.epoch,
        )

    def take(self) -> list[Encoded]:
        if self.position >= len(self._batches):
            self.epoch, self.position = self.epoch + 1, 0
            self._batches = self._shuffle()
        batch = self._batches[self.position]
        self.position += 1
        return [self._rows[index] for index in batch]


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into a flag, so that no step is cut in two; the second one ends all."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def handle(number: int, frame: object) -> None:
        if flag.is_set():
            raise KeyboardInterrupt
        flag.set()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, before)


def _stopped(state: Checkpoint, config: TrainConfig, folder: Path | None) -> Interrupted:
    return Interrupted(
        f"stopped after step {state.step} of {config.steps}",
        where=None if folder is None else str(folder),
        hint="nothing was kept"
        if folder is None
        else f"the checkpoint is saved; go on with: cuecard train --resume {folder}",
    )


def _diverged(state: Checkpoint, loss: float, lr: float) -> TrainingError:
    return TrainingError(
        "the training diverged",
        where=f"step {state.step + 1}",
        got=f"loss {loss} at a learning rate of {lr:.3g}",
        expected="a finite loss",
        hint="lower --lr, or try --lr auto",
    )
