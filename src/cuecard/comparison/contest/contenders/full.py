"""Full tuning: every matrix of the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cuecard.comparison.contest.contender import Contest, Loaded, Prepared, WithSteps
from cuecard.comparison.contest.contenders.prompts import losses_text
from cuecard.comparison.contest.rates import best_rate, setup_of
from cuecard.errors import Interrupted
from cuecard.folder_lock import held
from cuecard.interrupts import stoppable
from cuecard.lazy import torch
from cuecard.training.loop import run_loop
from cuecard.training.objective.validation import Validation
from cuecard.training.run import alarm_for, log_start
from cuecard.training.setup import TrainSetup, key_of
from cuecard.training.storage.checkpoint import Checkpoint, State
from cuecard.training.storage.log import Observer, RunLog
from cuecard.training.trainables.full_weights import TrainableModel, again, masters_of
from cuecard.training.trainables.head import head_of
from cuecard.training.trainer import Trainer, raise_if_diverged


@dataclass(frozen=True)
class FullRun:
    """A finished run.

    Attributes:
        setup: whose start takes the weights when they are loaded.
        state: with the best step's weights alone, in the model's precision.
        folder: where they are kept; None for nowhere.
    """

    setup: TrainSetup
    state: State
    folder: Path | None

    @property
    def validation(self) -> Validation:
        """At the best step."""
        state = self.state
        return Validation(state.best_loss, state.best_accuracy, prior=state.best_prior)

    @property
    def cpu_seconds(self) -> float:
        """Of training and validations."""
        return self.state.cpu_seconds

    @property
    def seconds(self) -> float:
        """The same by the clock."""
        return self.state.wall_seconds

    @contextmanager
    def loaded(self) -> Iterator[Loaded]:
        """The backbone with these weights."""
        setup, prior = self.setup, self.state.best_prior
        method = setup.start
        method.load_state_dict(self.state.best)
        with setup.trainable.attached(method), torch.no_grad():
            injection = method.injection()
            prior = prior if setup.config.calibrate else None
            yield Loaded(setup.backbone, setup.spec, injection, prior=prior, head=head_of(method))


class FullTuning(WithSteps):
    """Full tuning: a model of its own for each task."""

    title = "full tuning"

    def settings(self, contest: Contest) -> Mapping[str, Any]:
        """None."""
        return {}

    def setup(self, contest: Contest) -> TrainSetup:
        """Its training."""
        return setup_of(replace(contest, backbone=again(contest.backbone)), TrainableModel())

    def prepare(self, contest: Contest) -> Prepared:
        """Train at each rate, and keep the best by validation loss; the others' weights go."""
        setup = self.setup(contest)

        def at(made: TrainSetup, folder: Path | None) -> FullRun:
            return FullRun(setup, _train(made, folder, contest.tell), folder)

        tried = best_rate(contest, setup, at)
        run = tried.best
        _keep_best(contest.folder, run)
        return Prepared(
            score=run.validation.accuracy,
            parameters=sum(p.numel() for p in setup.start.parameters()),
            nbytes=masters_of(setup.start).nbytes + _head_bytes(setup),
            cpu_seconds=tried.cpu_seconds,
            seconds=tried.seconds,
            shared_bytes=0,
            loaded=run.loaded,
            facts={
                "lr": run.state.lr,
                "steps": run.state.step,
                "best_step": run.state.best_step,
                "validation_loss": run.state.best_loss,
                "losses": losses_text(tried.losses),
                "alarm": alarm_for(contest.task, run.validation),
            },
        )


def _train(setup: TrainSetup, folder: Path | None, tell: Observer) -> State:
    """Train at a rate; what is finished is read. Optimiser states are several times the model, so
    that a checkpoint is written at the end alone.

    Raises:
        TrainingError: it diverged, or the folder belongs to another run.
        Interrupted: Ctrl-C; this rate begins again.
    """

    def stopped() -> Interrupted:
        return Interrupted("stopped during full tuning", where=str(folder or "no folder"))

    with held(folder):
        checkpoint = Checkpoint.open(folder, key_of(setup.parts), 1, setup.parts)
        (state,) = checkpoint.runs
        if state.ended is None:
            log = RunLog(folder, tell)
            with stoppable(stopped):
                setup.backbone.remember(())
                log_start(log, setup, setup.start)
                state.lr = setup.peak_lr
                trainer = Trainer(setup, setup.start, state.lr, state, log)
                with setup.trainable.attached(setup.start):
                    run_loop(
                        [trainer],
                        checkpoint,
                        folder=None,
                        every=setup.config.steps,
                        stopped=stopped,
                    )
            state.method, state.optimizer = {}, {}
            state.best = _in_precision(state.best, setup.backbone.dtype)
            if folder is not None:
                checkpoint.save(folder)
        raise_if_diverged(state)
    return state


def _keep_best(folder: Path | None, best: FullRun) -> None:
    """Forget the weights of all rates but the best one: each is as large as the model."""
    for other in () if folder is None else folder.glob("lr-*"):
        found = Checkpoint.read(other)
        if other != best.folder and found is not None and found.runs[0].best:
            found.runs[0].best = {}
            found.save(other)


def _in_precision(state: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """A method's state with the matrices as the model sees them; a head's numbers as they are."""
    if "head" in state:
        return {**state, "method": _in_precision(state["method"], dtype)}
    return {name: matrix.to(dtype) for name, matrix in state.items()}


def _head_bytes(setup: TrainSetup) -> int:
    head = head_of(setup.start)
    return 0 if head is None else int(head.weight.nbytes + head.bias.nbytes)
