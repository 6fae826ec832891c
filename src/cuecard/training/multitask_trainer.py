"""The second stage of a multitask run: one shared prompt, with batches and a log of each task."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from cuecard.artifacts.shared import SharedPrompt
from cuecard.artifacts.tensors import tensors_of
from cuecard.errors import Interrupted
from cuecard.methods import MPT
from cuecard.tasks import Task
from cuecard.tasks.encoding.batching import row_lengths
from cuecard.training.batches import Draw, TaskBatches
from cuecard.training.budget.activation_checkpointing import largest_batch, plan_activations
from cuecard.training.checks import FrozenProof
from cuecard.training.loop import run_loop, stopped_run
from cuecard.training.objective.loss import Teacher
from cuecard.training.objective.validation import Validation
from cuecard.training.run import Run, Trained, finish_share, log_start
from cuecard.training.setup import TrainSetup, key_of, parts_of_runs, remember_inputs
from cuecard.training.storage.checkpoint import Checkpoint
from cuecard.training.storage.log import Observer, RunLog
from cuecard.training.trainables.initial_method import init_context
from cuecard.training.trainer import Trainer, raise_if_diverged
from cuecard.types import Injection

TASKS, SHARED = "tasks", "shared"
COMMAND = "cuecard multitask"

Sampling = Literal["all", "stochastic"]
"""Which tasks a step has batches of."""


@dataclass(frozen=True)
class Multitask:
    """The result of a multitask run.

    Attributes:
        shared: P* and every task's factors, at the best step: what a new task starts from.
        runs: each task's own prompt with its scores, by name.
        lr: the peak learning rate of P*.
        steps, best_step: how far it went, and where the prompts come from.
        folder: `shared`, `tasks` and `teachers` in it; None if nothing was kept.
    """

    shared: SharedPrompt
    runs: Mapping[str, Run]
    lr: float
    steps: int
    best_step: int
    folder: Path | None


class MultitaskTrainer:
    """Trains tasks that share a prompt.

    Args:
        setups: by task, on one backbone, with one method and one config.
        sampling: see `multitask`.
    """

    def __init__(
        self,
        setups: Mapping[str, TrainSetup],
        method: MPT,
        distil: float,
        teachers: Mapping[str, Injection],
        folder: Path | None,
        observer: Observer | None,
        sampling: Sampling = "all",
    ) -> None:
        self._method, self._folder, self._observer = method, folder, observer
        self._sampling = sampling
        first = next(iter(setups.values()))
        self._config, self._backbone = first.config, first.backbone
        parts = _parts({name: one.parts for name, one in setups.items()}, distil, teachers)
        if sampling != "all":
            parts["sampling"] = key_of(sampling)
        self._checkpoint = Checkpoint.open(folder, key_of(parts), 1 + len(setups), parts)
        self._state, *states = self._checkpoint.runs
        self._frozen = FrozenProof(self._backbone, first.rows[0], first.spec)
        # The init "text" starts from a task's description, "patches" from images: the first one's.
        seed, rows = self._config.seed, first.task.train
        context = init_context(self._backbone, first.spec, seed, rows)
        self._prompts = method.build_for(len(setups), context)
        self._setups = self._planned(setups)
        self._log = RunLog(folder, observer, keep_bytes=self._state.log_bytes)
        self._begin()
        self._batches = [
            TaskBatches(setup, self._injection_of(number), at, _teacher(teachers.get(name), distil))
            for number, ((name, setup), at) in enumerate(
                zip(self._setups.items(), states, strict=True)
            )
        ]

    def run(self) -> Multitask:
        """Train all of them, then test and save each."""
        state, first = self._state, next(iter(self._setups.values()))
        lr, prompts = float(state.lr or 0.0), self._prompts
        trainer = Trainer(
            first,
            prompts,
            lr,
            state,
            self._log,
            score=self._score,
            batches=self._batches,
            drawn=self._drawn,
        )
        run_loop(
            [trainer],
            self._checkpoint,
            folder=self._folder,
            every=self._config.checkpoint_every,
            stopped=self._stopped,
        )
        raise_if_diverged(state)
        self._frozen.check()
        runs = {name: self._finish(number, name) for number, name in enumerate(self._setups)}
        shared = SharedPrompt.create(
            prompts.vectors,
            prompts.columns,
            prompts.rows,
            tasks=list(self._setups),
            backbone=self._backbone,
            slot=self._method.slot,
            seed=self._config.seed,
        )
        if self._folder is not None:
            shared.save(self._folder / SHARED, overwrite=True)
        self._log.write("shared", step=state.step, best_step=state.best_step, digest=shared.digest)
        return Multitask(shared, runs, lr, state.step, state.best_step, self._folder)

    def _planned(self, setups: Mapping[str, TrainSetup]) -> dict[str, TrainSetup]:
        """The set-ups, with activations planned for the batches of all tasks together."""
        config, length = self._config, self._prompts.injection().length
        tokens = sum(
            largest_batch(row_lengths(setup.rows), length, config) for setup in setups.values()
        )
        plan = plan_activations(config.activations, self._backbone, tokens)
        return {name: replace(setup, activations=plan) for name, setup in setups.items()}

    def _begin(self) -> None:
        """Cache inputs, choose the rate, and write the log's first events."""
        config, state, setups = self._config, self._state, list(self._setups.values())
        late = [setup for setup in setups if setup.leaves_inputs]
        kept = remember_inputs(setups, late, self._checkpoint, self._folder)
        if state.lr is not None:
            if self._observer is not None:
                self._observer({"event": "resume", "step": state.step, "steps": config.steps})
            return
        state.lr = setups[0].peak_lr
        rows = [row for setup in setups for row in setup.rows]
        together = replace(setups[0], task=_joined([one.task for one in setups]), rows=rows)
        log_start(self._log, together, self._prompts, tasks=list(self._setups))
        if kept:
            self._log.write("inputs", **kept)

    @property
    def _drawn(self) -> Callable[[int], Sequence[int]] | None:
        if self._sampling == "all":
            return None
        return partial(drawn_tasks, len(self._setups), self._config.seed)

    def _injection_of(self, number: int) -> Callable[[Draw], Injection]:
        return lambda _: self._prompts.injection(number)

    def _score(self) -> Validation:
        """The tasks' mean, each one's own in the log."""
        found = {
            name: setup.validate_injection(self._prompts.injection(number))
            for number, (name, setup) in enumerate(self._setups.items())
        }
        self._log.write(
            "tasks", step=self._state.step, tasks={name: _said(one) for name, one in found.items()}
        )
        accuracies = [one.accuracy for one in found.values() if one.accuracy is not None]
        return Validation(
            loss=math.fsum(one.loss for one in found.values()) / len(found),
            accuracy=math.fsum(accuracies) / len(found) if len(accuracies) == len(found) else None,
        )

    def _finish(self, number: int, name: str) -> Run:
        """Test a task's prompt at the best step, once, and save it in a run of its own."""
        place = None if self._folder is None else self._folder / TASKS / name
        if place is not None:
            place.mkdir(parents=True, exist_ok=True)
        setup, own = self._setups[name], self._prompts.alone(number)
        trained = Trained(setup, own, self._state, RunLog(place, self._observer_of(name)), place)
        return finish_share(
            trained,
            self._method,
            len(self._setups),
            lambda: setup.validate_injection(self._prompts.injection(number)),
        )

    def _observer_of(self, name: str) -> Observer | None:
        tell = self._observer
        return None if tell is None else lambda event: tell({**event, "task": name})

    def _stopped(self) -> Interrupted:
        return stopped_run(self._checkpoint, self._config.steps, self._folder, COMMAND)


def drawn_tasks(count: int, seed: int, step: int) -> Sequence[int]:
    """The numbers of a step's tasks, 2 to all of them: the same for the same seed and step.

    As in Wang et al. 2023: how many is drawn evenly, then which.
    """
    rng = random.Random(f"tasks {seed} {step}")
    return sorted(rng.sample(range(count), rng.randint(2, count)))


def _teacher(injection: Injection | None, weight: float) -> Teacher | None:
    return None if injection is None else Teacher(injection, weight)


def _joined(tasks: list[Task]) -> Task:
    """A task of all rows, for the log's counts alone."""
    return replace(
        tasks[0],
        train=tuple(row for task in tasks for row in task.train),
        validation=tuple(row for task in tasks for row in task.validation),
        test=tuple(row for task in tasks for row in task.test),
    )


def _said(found: Validation) -> dict[str, float | None]:
    return {
        "loss": found.loss,
        "accuracy": found.accuracy,
        "majority_share": found.majority_share,
    }


def _parts(
    runs: Mapping[str, Mapping[str, str]], distil: float, teachers: Mapping[str, Injection]
) -> dict[str, str]:
    """What two sittings have in common, as digests by name."""
    found = parts_of_runs(runs) | {"distil": key_of(distil)}
    for name, injection in teachers.items():
        total = hashlib.sha256()
        for tensor in tensors_of(injection).values():
            total.update(tensor.contiguous().numpy().tobytes())
        found[f"teacher of {name}"] = total.hexdigest()
    return found
