"""Runs the trials of a sweep, several in each pass of the backbone, and chooses the best."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cuecard.errors import Interrupted, TrainingError
from cuecard.folder_lock import held
from cuecard.interrupts import stoppable
from cuecard.methods import MethodSettings
from cuecard.tasks import Task
from cuecard.tasks.encoding.batching import row_lengths
from cuecard.training.budget.prompts_per_pass import fit_together
from cuecard.training.checks import FrozenProof
from cuecard.training.config import TrainConfig
from cuecard.training.loop import run_loop, stopped_in
from cuecard.training.run import Run, Trained, find_run, finish_run, log_start
from cuecard.training.setup import (
    TrainSetup,
    check_start_of,
    key_of,
    parts_of_runs,
    remember_inputs,
    run_parts,
)
from cuecard.training.storage.checkpoint import Checkpoint, State
from cuecard.training.storage.log import FILE as LOG
from cuecard.training.storage.log import Observer, RunLog
from cuecard.training.sweeps.proposals import Seen, check_installed, propose, should_prune
from cuecard.training.sweeps.space import Settings, Space, SweepConfig
from cuecard.training.sweeps.trials import Sweep, Trial, write_trials
from cuecard.training.trainables.initial_method import suited_to
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.training.trainer import Trainer, raise_if_diverged
from cuecard.types import Backbone, Head, Injection, MethodConfig, Slot

TRIALS, BEST = "trials", "best"
SHARD = "shard"  # the part of a key that a sweep's shards do not share


class SweepRunner:
    """The trials of a sweep, from the first proposal to the chosen run; see `sweep`.

    Args:
        tell: called with every event.
        unit: what messages call a trial.
        command: what resumes it, without its folder.
        head: what the head of every trial starts from; zeros by default.
        paired: whether the first task has the first combination alone, and so on, instead of
            every task every combination; there are then as many of both.

    Attributes:
        parts: what two sittings, or two shards, have in common, as digests by name.
    """

    def __init__(
        self,
        backbone: Backbone,
        tasks: Mapping[str, Task],
        sweep: SweepConfig,
        method: MethodSettings,
        config: TrainConfig,
        folder: Path | None,
        tell: Observer,
        *,
        unit: str = "trial",
        command: str = "cuecard sweep",
        head: Head | None = None,
        paired: bool = False,
    ) -> None:
        self._head, self._paired = head, paired
        self._unit, self._command = unit, command
        self._backbone, self._tasks, self._sweep = backbone, tasks, sweep
        self._space = Space(sweep, method, config)
        if sweep.search == "tpe" or sweep.prunes:
            check_installed()
        self._folder, self._tell = folder, tell
        self._names = list(tasks)
        every = len(tasks) if paired else self._space.total * len(tasks)
        # Of the trials that are this process's own; a shard's are some of the sweep's.
        self._numbers = sweep.share.dealt(every)
        self._total = len(self._numbers)
        self._config = config
        prompt = TrainablePrompt(suited_to(backbone, method))
        self.parts = _parts(
            {n: run_parts(backbone, task, prompt, config) for n, task in tasks.items()}, sweep
        )
        self._state = Checkpoint(key_of(self.parts), parts=self.parts)
        self._late: set[Slot] = set()
        # By task and slot the set-up with the longest prompt: its rows are every trial's.
        self._longest = self._check()
        self._trainers: list[Trainer] = []

    def _check(self) -> dict[tuple[str, Slot], TrainSetup]:
        """Check every trial before anything is written, and every row with the longest prompt."""
        longest: dict[tuple[str, Slot], tuple[Injection, Settings]] = {}
        for place, settings in enumerate(self._space.combinations):
            trained, config = self._trainable(settings)
            names = self._names[place : place + 1] if self._paired else self._names
            for name in names:
                task = self._tasks[name]
                _, start = check_start_of(self._backbone, task, trained, config, self._title(name))
                now, where = start.injection(), (name, trained.slot)
                if trained.leaves_inputs(self._backbone, task.spec):
                    self._late.add(trained.slot)
                if where not in longest or now.length > longest[where][0].length:
                    longest[where] = now, settings
        return {
            (name, slot): TrainSetup.of(
                self._backbone, self._tasks[name], *self._trainable(settings)
            )
            for (name, slot), (_, settings) in longest.items()
        }

    def fits(self, folder: Path) -> None:
        """
        Raises:
            TrainingError: the folder holds the checkpoint of something else.
        """
        Checkpoint.load(folder, self._state.key, self.parts)

    def train(self) -> None:
        """Run all trials to their ends.

        Raises:
            TrainingError: the folder belongs to something else.
            Interrupted: Ctrl-C; the checkpoint is saved.
        """
        with held(self._folder), stoppable(self.stopped):
            self._train()

    def _train(self) -> None:
        self._state = state = Checkpoint.open(self._folder, self._state.key, parts=self.parts)
        first = self._longest[self._names[0], min(slot for _, slot in self._longest)]
        frozen = FrozenProof(self._backbone, first.rows[0], first.spec)
        self._remember_inputs()
        if state.together is None:
            tokens = self._config.batch_rows * max(row_lengths(first.rows))
            wanted = self._sweep.together or fit_together(self._backbone, tokens)
            state.together = min(wanted, self._total)
        self._tell(
            {
                "event": "sweep",
                "unit": self._unit,
                "trials": self._total,
                "together": state.together,
                "done": self._done(),
                "started": len(state.runs),
            }
        )
        for number in range(len(state.runs)):
            self._trainers.append(self._trainer(number))
        run_loop(
            self._trainers,
            state,
            folder=self._folder,
            every=self._config.checkpoint_every,
            stopped=self.stopped,
            more=self._more,
        )
        self._report()
        frozen.check()

    def _remember_inputs(self) -> None:
        late = [self._longest[name, slot] for slot in sorted(self._late) for name in self._names]
        chosen = self._state.inputs
        kept = remember_inputs(late, late, self._state, self._folder)
        if kept and chosen is None:
            self._tell({"event": "inputs", **kept})

    def finish(self) -> Sweep:
        """Test and save what validation has chosen; a shard chooses nothing.

        Raises:
            Interrupted: Ctrl-C; what was tested is kept.
        """
        with held(self._folder), stoppable(self.stopped):
            names = self._names if self._sweep.shard is None else []
            chosen = {name: self._choose(name) for name in names}
            runs = {name: self._finish(name, number) for name, number in chosen.items()}
            trials = self.trials
            if self._folder is not None:
                write_trials(self._folder, trials, runs, chosen)
            return Sweep(trials, runs, chosen, self._state.together or 1, self._folder)

    def injections(self) -> dict[str, Injection]:
        """What validation has chosen for each task; neither tested nor saved.

        Raises:
            TrainingError: every trial of a task diverged.
        """
        chosen = {name: self._trainers[self._choose(name)] for name in self._names}
        return {name: trainer.method.injection() for name, trainer in chosen.items()}

    def chosen(self) -> dict[str, Trial]:
        """Each task's trial that validation has chosen; neither tested nor saved.

        Raises:
            TrainingError: every trial of a task diverged.
        """
        return {name: self._trial(self._choose(name)) for name in self._names}

    @property
    def trials(self) -> tuple[Trial, ...]:
        """What came of all of them."""
        return tuple(map(self._trial, range(self._total)))

    def finish_all(self) -> list[Run]:
        """Test and save every trial where it was trained.

        Raises:
            TrainingError: one of them diverged.
            Interrupted: Ctrl-C; what was tested is kept.
        """
        with held(self._folder), stoppable(self.stopped):
            return [self._finish_trial(number) for number in range(self._total)]

    @property
    def trainers(self) -> Sequence[Trainer]:
        """The trials', each with its best step once all are trained."""
        return self._trainers

    def _finish_trial(self, number: int) -> Run:
        state, place = self._trainers[number].state, self.folder_of(number)
        raise_if_diverged(state)
        kept = 0 if place is None else state.log_bytes
        log = RunLog(place, self._observer_of(number), keep_bytes=kept)
        return finish_run(self._trained(number, log, place), self._method(number))

    def _more(self) -> None:
        """Start trials while there is room beside those that run."""
        self._report()
        room = (self._state.together or 1) - sum(not one.finished for one in self._trainers)
        for number in range(len(self._trainers), self._total)[: max(room, 0)]:
            self._state.notes.append({"settings": self._propose(number)})
            self._state.runs.append(State())
            self._trainers.append(self._trainer(number))

    def _propose(self, number: int) -> Settings:
        name, place = self._task_of(number), self._numbers[number]
        count = place if self._paired else place // len(self._names)
        if self._sweep.search == "grid":
            return self._space.combinations[count]
        seen = self._seen(name)
        return propose(self._space.axes, seen, total=self._space.total, seed=self._sweep.seed)

    def _trainer(self, number: int) -> Trainer:
        """A trial, with its log, from its state."""
        state, name, settings = self._state.runs[number], self._task_of(number), self._set(number)
        trained, config = self._trainable(settings)
        rows = self._longest[name, trained.slot].rows
        setup = TrainSetup.of(self._backbone, self._tasks[name], trained, config, rows=rows)
        place = self.folder_of(number)
        if place is not None:
            place.mkdir(parents=True, exist_ok=True)
        log = RunLog(place, self._observer_of(number), keep_bytes=state.log_bytes)
        if state.lr is None:
            state.lr = setup.peak_lr
            log_start(log, setup, setup.start, settings=settings, task_name=name)

        def prune(own: State) -> bool:
            others = self._seen(name, but=number)
            return should_prune(self._space.axes, others, Seen(settings, own), config.steps)

        chosen = prune if self._sweep.prunes else None
        return Trainer(setup, setup.start, state.lr, state, log, prune=chosen)

    def _choose(self, name: str) -> int:
        numbers = [n for n in range(self._total) if self._task_of(n) == name]
        sound = [n for n in numbers if self._state.runs[n].ended != "diverged"]
        if not sound:
            raise TrainingError(
                "every trial of the sweep diverged",
                where=self._title(name),
                got=self._state.runs[numbers[0]].error,
                hint="try smaller learning rates",
            )
        return max(sound, key=lambda n: (self._state.runs[n].best_score, -n))

    def _finish(self, name: str, number: int) -> Run:
        """The chosen trial as a run in a folder of its own, which begins with the trial's log."""
        place = self._folder if self._folder is None else self._folder / BEST / name
        found = find_run(self._trained(number, RunLog(None), place), self._method(number))
        if found is not None:
            self._tell({"event": "finished", "folder": str(place), "digest": found.prompt.digest})
            return found
        kept = 0
        if place is not None:
            place.mkdir(parents=True, exist_ok=True)
            source = self.folder_of(number)
            assert source is not None
            shutil.copyfile(source / LOG, place / LOG)
            kept = (place / LOG).stat().st_size
        log = RunLog(place, self._tell, keep_bytes=kept)
        return finish_run(self._trained(number, log, place), self._method(number))

    def _trained(self, number: int, log: RunLog, place: Path | None) -> Trained:
        trainer = self._trainers[number]
        return Trained(trainer.setup, trainer.method, trainer.state, log, place)

    def _report(self) -> None:
        """Tell of trials that have ended since the last time."""
        for number, trainer in enumerate(self._trainers):
            note = self._state.notes[number]
            if trainer.finished and not note.get("told"):
                note["told"] = True
                trial = self._trial(number)
                self._tell({"event": "trial_done", "trial": trial.number, **_fields(trial)})

    def _done(self) -> int:
        return sum(state.ended is not None for state in self._state.runs)

    def _trial(self, number: int) -> Trial:
        task, state = self._task_of(number), self._state.runs[number]
        return Trial.of(self._numbers[number], task, self._set(number), state)

    def _seen(self, name: str, but: int | None = None) -> list[Seen]:
        return [
            Seen(self._set(number), state)
            for number, state in enumerate(self._state.runs)
            if number != but and self._task_of(number) == name
        ]

    def _task_of(self, number: int) -> str:
        return self._names[self._numbers[number] % len(self._names)]

    def _set(self, number: int) -> Settings:
        settings: Settings = self._state.notes[number]["settings"]
        return settings

    def _trainable(self, settings: Settings) -> tuple[TrainablePrompt, TrainConfig]:
        method, config = self._space.applied(settings)
        return TrainablePrompt(suited_to(self._backbone, method), self._head), config

    def _method(self, number: int) -> MethodConfig:
        return self._trainable(self._set(number))[0].method

    def _observer_of(self, number: int) -> Observer:
        return lambda event: self._tell({**event, "trial": self._numbers[number]})

    def folder_of(self, number: int) -> Path | None:
        """A trial's folder; None where nothing is kept."""
        return None if self._folder is None else trial_folder(self._folder, self._numbers[number])

    def _title(self, name: str) -> str | None:
        return f"task {name}" if name else None

    def stopped(self) -> Interrupted:
        """What it ends with after Ctrl-C."""
        what = f"stopped with {self._done()} of {self._total} {self._unit}s finished"
        return stopped_in(what, self._folder, self._command)


def trial_folder(folder: Path, number: int) -> Path:
    """Where a sweep's folder has one of its trials."""
    return folder / TRIALS / f"{number:03d}"


def _fields(trial: Trial) -> dict[str, Any]:
    names = ("task", "settings", "loss", "accuracy", "best_step", "steps", "ended", "seconds")
    return {name: getattr(trial, name) for name in names}


def _parts(runs: Mapping[str, Mapping[str, str]], sweep: SweepConfig) -> dict[str, str]:
    """What two sittings have in common, as digests by name."""
    shared = key_of(sweep.model_dump(mode="json", exclude={"shard"}))
    shard = {} if sweep.shard is None else {SHARD: key_of(sweep.shard)}
    return {**parts_of_runs(runs), "sweep": shared, **shard}


def of_trials(observer: Observer, folder: str) -> Observer:
    """An observer of a sweep that is a part of a run: trials are told by their folders in it.

    Args:
        folder: the sweep's, in the run's.
    """

    def tell(event: dict[str, Any]) -> None:
        number = event.get("trial")
        known = {} if number is None else {"run": trial_folder(Path(folder), number).as_posix()}
        observer({**event, **known})

    return tell
