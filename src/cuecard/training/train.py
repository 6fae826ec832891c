"""Train a prompt for a task on a frozen backbone: the three axes meet here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cuecard.errors import Interrupted, TrainingError
from cuecard.folder_lock import held
from cuecard.interrupts import stoppable
from cuecard.methods import PromptTuning
from cuecard.progress_bar import with_progress_bar
from cuecard.tasks import Task
from cuecard.training.checks import FrozenProof
from cuecard.training.config import TrainConfig
from cuecard.training.loop import run_loop, stopped_run
from cuecard.training.parallel.ranks import Ranks
from cuecard.training.run import Run, Trained, finish_run, log_start
from cuecard.training.setup import TrainSetup, key_of, remember_inputs
from cuecard.training.storage.checkpoint import Checkpoint, State
from cuecard.training.storage.log import Observer, RunLog
from cuecard.training.sweeps.learning_rates import choose_lr
from cuecard.training.trainables.initial_method import suited_to
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.training.trainer import Trainer, raise_if_diverged
from cuecard.types import Backbone, Method, MethodConfig

R = TypeVar("R")


@dataclass(frozen=True)
class Before:
    """What went before a run: the race that it goes on from.

    Attributes:
        start: the state that its method begins with; empty for its own.
        spent: seconds and tokens, which are the run's too.
        events: what its log says of it, by name.
    """

    start: Mapping[str, Any]
    spent: State
    events: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def begin(self, method: Method, state: State, log: RunLog) -> None:
        """Begin a run with it."""
        if self.start:
            method.load_state_dict(self.start)
        state.spend_as(self.spent)
        for name, fields in self.events.items():
            log.write(name, **fields)


@with_progress_bar
def train(
    backbone: Backbone,
    task: Task,
    method: MethodConfig | None = None,
    config: TrainConfig | None = None,
    *,
    soft_labels: Sequence[Sequence[float]] | None = None,
    folder: str | Path | None = None,
    observer: Observer | None = None,
    progress: bool = True,
    alongside: bool = False,
) -> Run:
    """Train on the task's training rows, select on validation, evaluate once on the test rows.

    Resumes from a checkpoint of the same run in the folder; the result is bit-identical.

    Args:
        method: the method's settings; prompt tuning by default.
        config: how to train.
        soft_labels: per training row the probabilities of the labels, in the spec's order, to learn
            instead of its own label; needs the loss "labels".
        folder: where the log, the checkpoint and the prompt go; None keeps nothing.
        observer: called with every event of the log, and with "resume" where a run is resumed.
        progress: without an observer, show a bar in a terminal or a notebook.
        alongside: for `prove`: where the prompt leaves the inputs as they are, let its untrained
            start and the template alone answer the test rows in the same pass over them.

    Raises:
        DataError: no training or no validation rows.
        TrainingError: it diverged, or the folder belongs to another run.
        ConfigError: this backbone cannot take what the method makes, or cannot be asked the task.
        FrozenError: the backbone changed.
        Interrupted: Ctrl-C; the checkpoint is saved.
    """
    prompt = TrainablePrompt(suited_to(backbone, method or PromptTuning()))
    setup = TrainSetup.of(backbone, task, prompt, config or TrainConfig())
    if soft_labels is not None:
        setup = setup.with_soft_labels(soft_labels)
    return train_prompt(setup, prompt.method, folder=folder, observer=observer, alongside=alongside)


def train_prompt(
    setup: TrainSetup,
    method: MethodConfig,
    *,
    folder: str | Path | None = None,
    observer: Observer | None = None,
    alongside: bool = False,
    before: Before | None = None,
) -> Run:
    """`train`, from its set-up.

    Args:
        before: what it goes on from; None for its own start.

    Raises:
        TrainingError: it diverged, or the folder belongs to another run or another process.
        FrozenError: the backbone changed.
        Interrupted: Ctrl-C; the checkpoint is saved.
    """
    return train_alone(
        setup,
        lambda trained: finish_run(trained, method, alongside=alongside),
        "cuecard train",
        folder,
        observer,
        before,
    )


def train_share(setup: TrainSetup) -> None:
    """Train a run together with its first process, which alone tests and keeps the prompt.

    Raises:
        TrainingError: it diverged, another process was lost, or the first one trains another run.
        FrozenError: the backbone changed.
        Interrupted: the first process was stopped.
    """
    train_alone(setup, lambda trained: None, "cuecard train", None, None)


def train_alone(
    setup: TrainSetup,
    finish: Callable[[Trained], R],
    command: str,
    folder: str | Path | None,
    observer: Observer | None,
    before: Before | None = None,
) -> R:
    """Train what a set-up says on its own, from its checkpoint if there is one, and finish it.

    Args:
        finish: tests and keeps the method, which holds its best step.
        command: what resumes the run, without its folder.
        before: what it goes on from; None for its own start.

    Raises:
        TrainingError: it diverged, or the folder belongs to another run or another process.
        FrozenError: the backbone changed.
        Interrupted: Ctrl-C; the checkpoint is saved.
    """
    place, parts = None if folder is None else Path(folder), setup.parts
    with held(place):
        checkpoint = _opened(setup.ranks, place, parts)
        (state,) = checkpoint.runs
        log = RunLog(place, observer, keep_bytes=state.log_bytes)
        trained = Trained(setup, setup.start, state, log, place)

        def stopped() -> Interrupted:
            return stopped_run(checkpoint, setup.config.steps, place, command)

        if setup.trainable.changes_layers:  # cached inputs would be those of other layers
            setup.backbone.remember(())
        with stoppable(stopped):
            if state.ended is None:
                _train(trained, checkpoint, observer, stopped, before)
            else:
                trained.method.load_state_dict(state.best)
            raise_if_diverged(state)
            return finish(trained)


def _opened(ranks: Ranks, place: Path | None, parts: Mapping[str, str]) -> Checkpoint:
    """The checkpoint that the run's first process starts from, for all of them.

    Raises:
        TrainingError: that of another run, or this process has other settings, data or weights.
    """
    key = key_of(parts)
    found = ranks.same(lambda: Checkpoint.open(place, key, 1, parts))
    if found.key != key:
        changed = [name for name in parts if found.parts.get(name) != parts[name]]
        raise TrainingError(
            "this process would train another run than the first one",
            where=f"process {ranks.rank}",
            got=f"another {', another '.join(changed)}",
            expected="the same settings, data and backbone in all processes",
        )
    return found


def _train(
    trained: Trained,
    checkpoint: Checkpoint,
    observer: Observer | None,
    stopped: Callable[[], Interrupted],
    before: Before | None,
) -> None:
    """From the checkpoint's state to the end; the method holds its best step."""
    setup, method, state, log = trained.setup, trained.method, trained.state, trained.log
    frozen = FrozenProof(setup.backbone, setup.rows[0], setup.spec)
    late = [setup] if setup.leaves_inputs else []
    kept = remember_inputs(late, late, checkpoint, trained.folder)
    if state.lr is None:
        if before is not None:
            before.begin(method, state, log)
        log_start(log, setup, method)
        if kept:
            log.write("inputs", **kept)
        lr = choose_lr(setup, state, log) if setup.config.lr == "auto" else setup.peak_lr
        state.lr = setup.ranks.same(lambda: lr)
    elif observer is not None:
        # Not for the log, which is the same whether a run was interrupted or not.
        observer({"event": "resume", "step": state.step, "steps": setup.config.steps})
    with setup.trainable.attached(method):
        run_loop(
            [Trainer(setup, method, state.lr, state, log)],
            checkpoint,
            folder=trained.folder,
            every=setup.config.checkpoint_every,
            stopped=stopped,
        )
    raise_if_diverged(state)
    frozen.check()
