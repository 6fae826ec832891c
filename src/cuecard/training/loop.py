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
    sitting = _Sitting(job, method, lr, state, log, folder)
    with _interrupts() as interrupted:
        if state.best_step < 0:
            sitting.look(validate())
            sitting.checkpoint()
        while state.step < config.steps and not (0 < config.patience <= state.waited):
            sitting.step(lr)
            last = state.step == config.steps
            if state.step % config.validate_every == 0 or last:
                sitting.look(validate())
            if state.step % config.checkpoint_every == 0 or last or interrupted.is_set():
                sitting.checkpoint()
            if interrupted.is_set():
                raise _stopped(state, config, folder)
    sitting.checkpoint()
    method.load_state_dict(state.best)
    return state


class _Sitting:
    """One process's part of a run: the optimiser, the order of the rows, the clocks."""

    def __init__(
        self,
        job: Job,
        method: Method,
        lr: float,
        state: Checkpoint,
        log: RunLog,
        folder: Path | None,
    ) -> None:
        self._job, self._method, self._state = job, method, state
        self._log, self._folder = log, folder
        self._optimizer = make_optimizer(job.config, lr, method.parameters())
        if state.method:
            method.load_state_dict(state.method)
            self._optimizer.load_state_dict(state.optimizer)
        self._order = _Order(job.rows, job.config, state)
        self._cpu = time.process_time() - state.cpu_seconds
        self._wall = time.monotonic() - state.wall_seconds

    def step(self, lr: float) -> None:
        """One optimiser step, logged."""
        state, config = self._state, self._job.config
        started = time.monotonic()
        now = lr_at(state.step, lr, config)
        set_lr(self._optimizer, now)
        micro = [self._order.take() for _ in range(config.accumulation)]
        loss, norm, targets = _step(self._job, micro, self._method, self._optimizer)
        if not math.isfinite(loss):
            raise _diverged(state, loss, now)
        state.step += 1
        self._log.write(
            "step",
            step=state.step,
            loss=loss,
            lr=now,
            grad_norm=norm,
            targets=targets,
            seconds=round(time.monotonic() - started, 4),
        )

    def look(self, seen: Validation) -> None:
        """Keep the method if it is the best so far."""
        state = self._state
        score = seen.score(self._job.config.select)
        better = state.best_step < 0 or score > state.best_score
        if better:
            state.best, state.best_step = deepcopy(self._method.state_dict()), state.step
            state.best_score, state.waited = score, 0
            state.best_loss, state.best_accuracy = seen.loss, seen.accuracy
        else:
            state.waited += 1
        self._log.write(
            "validation",
            step=state.step,
            validation_loss=seen.loss,
            validation_accuracy=seen.accuracy,
            commonest=seen.commonest,
            best=better,
        )

    def checkpoint(self) -> None:
        """Put everything a later sitting needs into the state, and the state on disk."""
        state = self._state
        state.epoch, state.position = self._order.epoch, self._order.position
        state.method = deepcopy(self._method.state_dict())
        state.optimizer = self._optimizer.state_dict()
        state.cpu_seconds = time.process_time() - self._cpu
        state.wall_seconds = time.monotonic() - self._wall
        state.log_bytes = self._log.size()
        if self._folder is not None:
            state.save(self._folder)


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
