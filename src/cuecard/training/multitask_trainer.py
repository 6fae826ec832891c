"""The tasks of a multitask run on their way: one prompt, a feed of rows and a log of each."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cuecard.artifacts.shared import SharedPrompt
from cuecard.artifacts.tensors import tensors_of
from cuecard.errors import Interrupted
from cuecard.interrupts import may_cut
from cuecard.methods import MPT
from cuecard.tasks import Task
from cuecard.training.batches import Feed
from cuecard.training.budget.activation_checkpointing import (
    Choice,
    choose_activations,
    largest_batch,
)
from cuecard.training.budget.input_cache import remember_inputs
from cuecard.training.capabilities import is_late
from cuecard.training.config import TrainConfig
from cuecard.training.job import Job
from cuecard.training.loop import run_loop
from cuecard.training.loss import Teacher, resolve_loss
from cuecard.training.optim import default_lr
from cuecard.training.setup import init_context
from cuecard.training.storage.checkpoint import Checkpoint
from cuecard.training.storage.log import Observer, RunLog
from cuecard.training.train import (
    Run,
    Unchanged,
    counts_of,
    finish_run,
    finished_run,
    key_of,
    log_start,
    run_parts,
)
from cuecard.training.trainer import Member
from cuecard.training.validation import Validation, validate
from cuecard.types import Backbone, Injection

if TYPE_CHECKING:
    from torch import Tensor

TASKS, SHARED = "tasks", "shared"


@dataclass(frozen=True)
class Multitask:
    """What the source tasks came to.

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


class Mix:
    """The second stage: tasks that share a prompt."""

    def __init__(
        self,
        backbone: Backbone,
        tasks: Mapping[str, Task],
        method: MPT,
        config: TrainConfig,
        distil: float,
        teachers: Mapping[str, Injection],
        folder: Path | None,
        observer: Observer | None,
    ) -> None:
        self._backbone, self._tasks, self._method = backbone, tasks, method
        self._config, self._folder, self._observer = config, folder, observer
        parts = _parts(
            {name: run_parts(backbone, t, method, config) for name, t in tasks.items()},
            distil,
            teachers,
        )
        self._checkpoint = Checkpoint.open(folder, key_of(parts), 1 + len(tasks), parts)
        self._state, *places = self._checkpoint.runs
        self._jobs = {name: self._job(task) for name, task in tasks.items()}
        first = next(iter(self._jobs.values()))
        self._unchanged = Unchanged(backbone, first.rows[0], first.spec)
        # The start may look at a task, as the init "text" does: it is the first one.
        context = init_context(backbone, first.spec, config.seed)
        self._prompts = method.build_for(len(tasks), context)
        self._log = RunLog(folder, observer, keep_bytes=self._state.log_bytes)
        self._begin()
        self._feeds = [
            Feed(job, self._injection_of(number), at, _teacher(teachers.get(name), distil))
            for number, ((name, job), at) in enumerate(zip(self._jobs.items(), places, strict=True))
        ]

    def run(self) -> Multitask:
        """Train all of them, then test and save each."""
        lr, first = float(self._state.lr or 0.0), next(iter(self._jobs.values()))
        member = Member(
            first, self._prompts, lr, self._validate, self._state, self._log, feeds=self._feeds
        )
        run_loop(
            [member],
            self._checkpoint,
            folder=self._folder,
            every=self._config.checkpoint_every,
            stopped=self._stopped,
        )
        member.raise_if_diverged()
        self._unchanged.check()
        runs = {name: self._finish(number, name) for number, name in enumerate(self._tasks)}
        prompts = self._prompts
        shared = SharedPrompt.create(
            prompts.vectors,
            prompts.columns,
            prompts.rows,
            tasks=list(self._tasks),
            backbone=self._backbone,
            slot=self._method.slot,
            seed=self._config.seed,
        )
        if self._folder is not None:
            shared.save(self._folder / SHARED, overwrite=True)
        state = self._state
        self._log.write("shared", step=state.step, best_step=state.best_step, digest=shared.digest)
        return Multitask(shared, runs, lr, state.step, state.best_step, self._folder)

    def _job(self, task: Task) -> Job:
        spec, slot = task.spec, self._method.slot
        rows = [spec.encode(record, self._backbone.tokenizer, slot) for record in task.train]
        loss = resolve_loss(self._config.loss, spec, self._backbone)
        return Job(self._backbone, spec, rows, self._config, loss)

    def _begin(self) -> None:
        """Choose what is done with activations, inputs and the rate, and say so."""
        config, state, jobs = self._config, self._state, self._jobs
        activations = self._activations()
        recompute = activations.how == "recompute"
        self._jobs = {name: replace(job, recompute=recompute) for name, job in jobs.items()}
        kept = self._remember()
        if state.lr is not None:
            if self._observer is not None:
                self._observer({"event": "resume", "step": state.step, "steps": config.steps})
            return
        assert config.lr != "auto"
        state.lr = config.lr or default_lr(config, self._backbone.embeddings)
        first = next(iter(self._jobs.values()))
        rows = [row for job in self._jobs.values() for row in job.rows]
        together = _joined(self._tasks)
        named = list(self._tasks)
        log_start(
            self._log,
            replace(first, rows=rows),
            together,
            self._method.name,
            activations,
            counts_of(self._backbone, self._prompts),
            tasks=named,
        )
        if kept:
            self._log.write("inputs", **kept)

    def _activations(self) -> Choice:
        length = self._prompts.injection().length
        tokens = sum(
            largest_batch([len(r.context) + len(r.target) for r in job.rows], length, self._config)
            for job in self._jobs.values()
        )
        return choose_activations(self._config.activations, self._backbone, tokens)

    def _remember(self) -> dict[str, int | str]:
        backbone, method = self._backbone, self._method
        late = [t for t in self._tasks.values() if is_late(backbone, method, t.spec)]
        if not late:
            return {}
        rows = [row for job in self._jobs.values() for row in job.rows]
        for task in late:
            seen = task.validation
            rows += [task.spec.encode(row, backbone.tokenizer, method.slot) for row in seen]
        chosen = self._checkpoint.inputs
        kept = remember_inputs(backbone, rows, self._config.inputs, self._folder, chosen)
        self._checkpoint.inputs = str(kept["place"])
        return kept

    def _injection_of(self, number: int) -> Any:
        return lambda: self._prompts.injection(number)

    def _validate(self) -> Validation:
        """The tasks' mean, each one's own in the log."""
        seen = {name: self._look(number, name) for number, name in enumerate(self._tasks)}
        self._log.write(
            "tasks", step=self._state.step, tasks={name: _told(one) for name, one in seen.items()}
        )
        accuracies = [one.accuracy for one in seen.values() if one.accuracy is not None]
        return Validation(
            loss=math.fsum(one.loss for one in seen.values()) / len(seen),
            accuracy=math.fsum(accuracies) / len(seen) if len(accuracies) == len(seen) else None,
        )

    def _look(self, number: int, name: str) -> Validation:
        task, injection = self._tasks[name], self._prompts.injection(number)
        slot = self._method.slot
        return validate(
            self._backbone,
            task.spec,
            task.validation,
            injection,
            slot,
            calibrated=self._config.calibrate,
        )

    def _finish(self, number: int, name: str) -> Run:
        """Test a task's prompt at the best step, once, and save it in a run of its own."""
        place = None if self._folder is None else self._folder / TASKS / name
        if place is not None:
            place.mkdir(parents=True, exist_ok=True)
        log = RunLog(place, self._observer_of(name))
        task, job, own = self._tasks[name], self._jobs[name], self._prompts.alone(number)
        found = finished_run(place, job, task, self._method, own)
        if found is not None:
            log.tell("finished", folder=str(place), digest=found.prompt.digest)
            return found
        with may_cut():
            seen = self._look(number, name)
        count, shared = len(self._tasks), self._state
        state = replace(
            shared,
            best_loss=seen.loss,
            best_accuracy=seen.accuracy,
            best_prior=seen.prior,
            cpu_seconds=shared.cpu_seconds / count,
            wall_seconds=shared.wall_seconds / count,
        )
        return finish_run(job, task, self._method, own, state, log, place)

    def _observer_of(self, name: str) -> Observer | None:
        tell = self._observer
        return None if tell is None else lambda event: tell({**event, "task": name})

    def _stopped(self) -> Interrupted:
        return stopped_mix(
            f"stopped after step {self._state.step} of {self._config.steps}", self._folder
        )


def _teacher(injection: Injection | None, weight: float) -> Teacher | None:
    return None if injection is None else Teacher(injection, weight)


def _joined(tasks: Mapping[str, Task]) -> Task:
    """A task of all rows, for the log's counts alone."""
    given = list(tasks.values())
    return replace(
        given[0],
        train=tuple(row for task in given for row in task.train),
        validation=tuple(row for task in given for row in task.validation),
        test=tuple(row for task in given for row in task.test),
    )


def _told(seen: Validation) -> dict[str, float | None]:
    return {"loss": seen.loss, "accuracy": seen.accuracy, "commonest": seen.commonest}


def _parts(
    runs: Mapping[str, Mapping[str, str]], distil: float, teachers: Mapping[str, Injection]
) -> dict[str, str]:
    """What two sittings have in common, as digests by name."""
    found = {
        f"{part} of {name}": one for name, parts in runs.items() for part, one in parts.items()
    }
    found["distil"] = key_of(distil)
    for name, injection in teachers.items():
        total = hashlib.sha256()
        for tensor in tensors_of(injection).values():
            total.update(_bytes(tensor))
        found[f"teacher of {name}"] = total.hexdigest()
    return found


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()


def stopped_mix(what: str, folder: Path | None) -> Interrupted:
    """What a multitask run ends with after Ctrl-C."""
    return Interrupted(
        what,
        where=None if folder is None else str(folder),
        hint="nothing was kept"
        if folder is None
        else f"the checkpoint is saved; go on with: cuecard multitask --resume {folder}",
    )
