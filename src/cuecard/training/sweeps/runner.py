"""The trials of a sweep: which there are, which run, what they came to."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cuecard.errors import Interrupted, TrainingError
from cuecard.folder_lock import held
from cuecard.interrupts import may_cut, stoppable
from cuecard.methods import MethodSettings
from cuecard.tasks import Task
from cuecard.training.budget.input_cache import remember_inputs
from cuecard.training.budget.prompts_per_pass import fit_together
from cuecard.training.budget.validation_plan import plan_looks
from cuecard.training.capabilities import is_late
from cuecard.training.checks import check_method, check_rows, check_splits, check_weights
from cuecard.training.config import TrainConfig
from cuecard.training.head import head_of
from cuecard.training.job import Job
from cuecard.training.loop import run_loop
from cuecard.training.loss import resolve_loss
from cuecard.training.optim import default_lr
from cuecard.training.setup import encode_rows, new_method
from cuecard.training.storage.checkpoint import Checkpoint, State
from cuecard.training.storage.log import FILE as LOG
from cuecard.training.storage.log import Observer, RunLog
from cuecard.training.sweeps.proposals import Seen, check_installed, propose, should_prune
from cuecard.training.sweeps.space import Settings, Space, SweepConfig
from cuecard.training.sweeps.trials import Sweep, Trial, write_trials
from cuecard.training.train import (
    Run,
    Unchanged,
    choose_for,
    counts_of,
    finish_run,
    finished_run,
    key_of,
    log_start,
    run_parts,
)
from cuecard.training.trainer import Member
from cuecard.training.validation import Validation, validate
from cuecard.types import Backbone, Encoded, Injection, Slot

TRIALS, BEST = "trials", "best"


class Group:
    """A sweep's trials, from the first proposal to the chosen run; see `sweep`."""

    def __init__(
        self,
        backbone: Backbone,
        tasks: Mapping[str, Task],
        sweep: SweepConfig,
        method: MethodSettings,
        config: TrainConfig,
        folder: Path | None,
        tell: Observer,
    ) -> None:
        self._backbone, self._tasks, self._sweep = backbone, tasks, sweep
        self._space = Space(sweep, method, config)
        if sweep.search == "tpe" or sweep.prunes:
            check_installed()
        self._every = config.checkpoint_every
        self._folder, self._tell = folder, tell
        self._names = list(tasks)
        self._total = self._space.total * len(tasks)
        self._config = config
        self._parts = _parts(
            {n: run_parts(backbone, task, method, config) for n, task in tasks.items()}, sweep
        )
        self._state = Checkpoint(key_of(self._parts), parts=self._parts)
        self._encoded: dict[tuple[str, Slot], list[Encoded]] = {}
        self._members: list[Member] = []
        self._check()

    def _check(self) -> None:
        """Check every trial, and encode the rows, before anything is written."""
        for name, task in self._tasks.items():
            check_splits(task, f"task {name}" if name else None)
        longest: dict[tuple[str, Slot], Injection] = {}
        for settings in self._space.combinations:
            method, config = self._space.applied(settings)
            for name, task in self._tasks.items():
                _, start = check_method(self._backbone, task.spec, method, config)
                now, place = start.injection(), (name, method.slot)
                if place not in longest or now.length > longest[place].length:
                    longest[place] = now
        for (name, slot), injection in longest.items():
            rows = check_rows(self._backbone, self._tasks[name], slot, injection)
            check_weights(self._backbone, rows[0], self._tasks[name].spec)
            self._encoded[name, slot] = rows

    def open(self) -> None:
        """Take up what the folder holds, remember inputs and choose how many go together.

        Raises:
            TrainingError: the folder belongs to something else.
        """
        backbone, sweep, config = self._backbone, self._sweep, self._config
        self._state = Checkpoint.open(self._folder, self._state.key, parts=self._parts)
        methods = [self._space.applied(s)[0] for s in self._space.combinations]
        late = {
            method.slot
            for method in methods
            for task in self._tasks.values()
            if is_late(backbone, method, task.spec)
        }
        first = self._rows(self._names[0], min(method.slot for method in methods))
        self._unchanged = Unchanged(backbone, first[0], self._tasks[self._names[0]].spec)
        if late:
            with may_cut():
                self._remember(config, sorted(late))
        if self._state.together is None:
            tokens = config.batch_rows * max(len(row.context) + len(row.target) for row in first)
            wanted = sweep.together or fit_together(backbone, tokens)
            self._state.together = min(wanted, self._total)

    def fits(self, folder: Path) -> None:
        """
        Raises:
            TrainingError: the folder holds the checkpoint of something else.
        """
        Checkpoint.load(folder, self._state.key, self._parts)

    def train(self) -> None:
        """Run all trials to their ends.

        Raises:
            Interrupted: Ctrl-C; the checkpoint is saved.
        """
        with held(self._folder), stoppable(self._stopped):
            self.open()
            self._train()

    def _train(self) -> None:
        state = self._state
        self._tell(
            {
                "event": "sweep",
                "trials": self._total,
                "together": state.together,
                "done": self._done(),
                "started": len(state.runs),
            }
        )
        for number in range(len(state.runs)):
            self._members.append(self._member(number))
        run_loop(
            self._members,
            state,
            folder=self._folder,
            every=self._every,
            stopped=self._stopped,
            more=self._more,
        )
        self._report()
        self._unchanged.check()

    def finish(self) -> Sweep:
        """Test and save what validation has chosen.

        Raises:
            Interrupted: Ctrl-C; what was tested is kept.
        """
        with held(self._folder), stoppable(self._stopped):
            return self._test_chosen()

    def _test_chosen(self) -> Sweep:
        chosen = {name: self._choose(name) for name in self._names}
        runs = {name: self._finish(name, number) for name, number in chosen.items()}
        trials = tuple(self._trial(number) for number in range(self._total))
        if self._folder is not None:
            write_trials(self._folder, trials, runs, chosen)
        return Sweep(trials, runs, chosen, self._state.together or 1, self._folder)

    def injections(self) -> dict[str, Injection]:
        """What validation has chosen for each task; neither tested nor saved.

        Raises:
            TrainingError: every trial of a task diverged.
        """
        chosen = {name: self._members[self._choose(name)] for name in self._names}
        return {name: member.method.injection() for name, member in chosen.items()}

    def finish_all(self) -> list[Run]:
        """Test and save every trial where it was trained.

        Raises:
            TrainingError: one of them diverged.
        """
        return [self._finish_trial(number) for number in range(self._total)]

    def _finish_trial(self, number: int) -> Run:
        member, place = self._members[number], self._trial_folder(number)
        member.raise_if_diverged()
        kept = 0 if place is None else member.state.log_bytes
        method, _ = self._space.applied(self._state.notes[number]["settings"])
        log = RunLog(place, self._observer_of(number), keep_bytes=kept)
        task = self._tasks[self._task_of(number)]
        return finish_run(member.job, task, method, member.method, member.state, log, place)

    def _more(self) -> None:
        """Start trials while there is room beside those that run."""
        self._report()
        room = (self._state.together or 1) - sum(not member.over for member in self._members)
        for number in range(len(self._members), self._total)[: max(room, 0)]:
            self._state.notes.append({"settings": self._propose(number)})
            self._state.runs.append(State())
            self._members.append(self._member(number))

    def _propose(self, number: int) -> Settings:
        name, count = self._task_of(number), number // len(self._names)
        if self._sweep.search == "grid":
            return self._space.combinations[count]
        seen = self._seen(name)
        return propose(self._space.axes, seen, total=self._space.total, seed=self._sweep.seed)

    def _member(self, number: int) -> Member:
        """A trial as it stands, with its log."""
        state, name = self._state.runs[number], self._task_of(number)
        settings: Settings = self._state.notes[number]["settings"]
        task, (method, config) = self._tasks[name], self._space.applied(settings)
        place = self._trial_folder(number)
        if place is not None:
            place.mkdir(parents=True, exist_ok=True)
        log = RunLog(place, self._observer_of(number), keep_bytes=state.log_bytes)
        rows = self._rows(name, method.slot)
        loss = resolve_loss(config.loss, task.spec, self._backbone)
        job = Job(self._backbone, task.spec, rows, config, loss)
        made = new_method(self._backbone, task.spec, method, config.seed, config.head_lr)
        activations = choose_for(job, made)
        length = made.injection().length
        looks = plan_looks(self._backbone, task, rows, config, length, method.slot)
        job = replace(job, recompute=activations.how == "recompute", looks=looks)
        if state.lr is None:
            state.lr = _rate(config, self._backbone)
            counts = counts_of(self._backbone, made)
            more = {"settings": settings, "task_name": name}
            log_start(log, job, task, method.name, activations, counts, **more)

        def look() -> Validation:
            records = task.validation
            injection, head = made.injection(), head_of(made)
            return validate(
                self._backbone,
                task.spec,
                records,
                injection,
                method.slot,
                head,
                calibrated=job.config.calibrate,
                brief=looks.brief,
            )

        def prune(own: State) -> bool:
            others = self._seen(name, but=number)
            return should_prune(self._space.axes, others, Seen(settings, own), config.steps)

        return Member(job, made, state.lr, look, state, log, prune if self._sweep.prunes else None)

    def _choose(self, name: str) -> int:
        numbers = [n for n in range(self._total) if self._task_of(n) == name]
        sound = [n for n in numbers if self._state.runs[n].ended != "diverged"]
        if not sound:
            raise TrainingError(
                "every trial of the sweep diverged",
                where=f"task {name}" if name else None,
                got=self._state.runs[numbers[0]].error,
                hint="try smaller learning rates",
            )
        return max(sound, key=lambda n: (self._state.runs[n].best_score, -n))

    def _finish(self, name: str, number: int) -> Run:
        place = self._folder if self._folder is None else self._folder / BEST / name
        member, task = self._members[number], self._tasks[name]
        method, _ = self._space.applied(self._state.notes[number]["settings"])
        found = finished_run(place, member.job, task, method, member.method)
        if found is not None:
            self._tell({"event": "finished", "folder": str(place), "digest": found.prompt.digest})
            return found
        kept = 0
        if place is not None:
            place.mkdir(parents=True, exist_ok=True)
            source = self._trial_folder(number)
            assert source is not None
            shutil.copyfile(source / LOG, place / LOG)
            kept = (place / LOG).stat().st_size
        log = RunLog(place, self._tell, keep_bytes=kept)
        return finish_run(member.job, task, method, member.method, member.state, log, place)

    def _report(self) -> None:
        """Tell of trials that have ended since the last time."""
        for number in range(len(self._members)):
            note = self._state.notes[number]
            if self._members[number].over and not note.get("told"):
                note["told"] = True
                trial = self._trial(number)
                self._tell({"event": "trial_done", "trial": number, **_fields(trial)})

    def _done(self) -> int:
        return sum(state.ended is not None for state in self._state.runs)

    def _trial(self, number: int) -> Trial:
        settings = self._state.notes[number]["settings"]
        return Trial.of(number, self._task_of(number), settings, self._state.runs[number])

    def _seen(self, name: str, but: int | None = None) -> list[Seen]:
        pairs = zip(self._state.notes, self._state.runs, strict=True)
        return [
            Seen(note["settings"], state)
            for number, (note, state) in enumerate(pairs)
            if number != but and self._task_of(number) == name
        ]

    def _task_of(self, number: int) -> str:
        return self._names[number % len(self._names)]

    def _rows(self, name: str, slot: Slot) -> list[Encoded]:
        if (name, slot) not in self._encoded:
            task = self._tasks[name]
            tokenizer = self._backbone.tokenizer
            self._encoded[name, slot] = encode_rows(task.spec, task.train, tokenizer, slot)
        return self._encoded[name, slot]

    def _remember(self, config: TrainConfig, slots: Sequence[Slot]) -> None:
        rows = [row for s in slots for name in self._names for row in self._rows(name, s)]
        tokenizer = self._backbone.tokenizer
        for slot in slots:
            for task in self._tasks.values():
                rows += encode_rows(task.spec, task.validation, tokenizer, slot)
        chosen = self._state.inputs
        kept = remember_inputs(self._backbone, rows, config.inputs, self._folder, chosen)
        self._state.inputs = str(kept["place"])
        if chosen is None:
            self._tell({"event": "inputs", **kept})

    def _observer_of(self, number: int) -> Observer:
        return lambda event: self._tell({**event, "trial": number})

    def _trial_folder(self, number: int) -> Path | None:
        return None if self._folder is None else self._folder / TRIALS / f"{number:03d}"

    def _stopped(self) -> Interrupted:
        place = self._folder
        return Interrupted(
            f"stopped with {self._done()} of {self._total} trials at their end",
            where=None if place is None else str(place),
            hint="nothing was kept"
            if place is None
            else f"the checkpoint is saved; go on with: cuecard sweep --resume {place}",
        )


def _rate(config: TrainConfig, backbone: Backbone) -> float:
    if isinstance(config.lr, float | int):
        return float(config.lr)
    return default_lr(config, backbone.embeddings)


def _fields(trial: Trial) -> dict[str, Any]:
    names = ("task", "settings", "loss", "accuracy", "best_step", "steps", "ended", "seconds")
    return {name: getattr(trial, name) for name in names}


def _parts(runs: Mapping[str, Mapping[str, str]], sweep: SweepConfig) -> dict[str, str]:
    """What two sittings have in common, as digests by name."""
    named = {
        f"{part} of {name}" if name else part: value
        for name, parts in runs.items()
        for part, value in parts.items()
    }
    return {**named, "sweep": key_of(sweep.model_dump(mode="json"))}
