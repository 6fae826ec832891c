"""Run a race: every contestant for a few steps in shared passes, then the best one to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from cuecard.errors import Interrupted
from cuecard.folder_lock import held
from cuecard.interrupts import may_cut, stoppable
from cuecard.lazy import torch
from cuecard.methods import MethodSettings
from cuecard.tasks import Task
from cuecard.tasks.encoding.batching import row_lengths
from cuecard.training.budget.prompts_per_pass import fit_together
from cuecard.training.checks import FrozenProof
from cuecard.training.config import Budget, TrainConfig, with_budget
from cuecard.training.heads.fitted_head import fit_head, fits_head
from cuecard.training.heads.pooled_head import pool
from cuecard.training.loop import run_loop, stopped_in
from cuecard.training.objective.validation import Validation
from cuecard.training.race.contestants import Entrants
from cuecard.training.race.pace import measure
from cuecard.training.race.plan import Cost, RacePlan, Sizes
from cuecard.training.race.scores import RaceScores
from cuecard.training.race.stages import cut, final_setup, race_setup
from cuecard.training.run import Run, Trained, finish_run, log_start
from cuecard.training.setup import TrainSetup, key_of, remember_inputs, run_parts
from cuecard.training.storage.checkpoint import Checkpoint, State
from cuecard.training.storage.log import Observer, RunLog
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.training.trainer import Trainer, raise_if_diverged
from cuecard.types import Backbone, Head, Method


@dataclass(frozen=True)
class Chosen:
    """What a race has chosen.

    Attributes:
        name: the best contestant.
        method: its settings.
        setup: of the run that it makes.
        raced: where its race ended; None without a race.
        spent: seconds and tokens, of all of the race.
    """

    name: str
    method: MethodSettings
    setup: TrainSetup
    raced: State | None
    spent: State

    @property
    def head(self) -> Head | None:
        """As it was fitted; None where the best one has none."""
        return _prompt(self.setup).head


class RaceRunner:
    """The contestants of `--method auto`, from their set-up to the best one's run.

    The checkpoint's first run is the best contestant's, the others are the race's.

    Args:
        runs: how many the best one is to make, one for each seed, within the budget.
        heads: whether a head may tell labels apart that have words.
    """

    def __init__(
        self,
        backbone: Backbone,
        task: Task,
        config: TrainConfig,
        *,
        runs: int = 1,
        heads: bool = True,
    ) -> None:
        config, self._runs = with_budget(config), runs
        self._backbone, self._task, self._config = backbone, task, config
        self._folder: Path | None = None
        self._observer: Observer | None = None
        self.budget = Budget.parse(str(config.budget))
        entrants = Entrants.of(backbone, task, config, heads=heads)
        self.setups, self._methods = entrants.setups, entrants.methods
        self._refused = entrants.refused
        self._parts = _parts(self.setups, backbone, task, config, runs)
        self._checkpoint = Checkpoint(key_of(self._parts), parts=self._parts)
        self._scores = RaceScores()
        self._cuts: dict[str, TrainSetup] = {}
        self._log = RunLog(None)
        self._resume_folder: Path | None = None

    def fits(self, folder: Path) -> None:
        """
        Raises:
            TrainingError: the folder holds the checkpoint of something else.
        """
        Checkpoint.load(folder, self._checkpoint.key, self._parts)

    def run(
        self, folder: Path | None, observer: Observer | None = None, *, alongside: bool = False
    ) -> Run:
        """Race, train the best one on, test it once, and keep it.

        Args:
            alongside: as in `train`.

        Raises:
            TrainingError: the best one diverged, or the folder belongs to another run.
            FrozenError: the backbone changed.
            Interrupted: Ctrl-C; the checkpoint is saved.
        """
        self._folder, self._observer, self._resume_folder = folder, observer, folder
        with held(folder), stoppable(self._stopped):
            self._open()
            if self._final.ended is None:
                self._train(to_the_end=True)
            raise_if_diverged(self._final)
            setup = self._final_setup()
            method = setup.new_method()
            method.load_state_dict(self._final.best)
            trained = Trained(setup, method, self._final, self._log, folder)
            return finish_run(trained, self._methods[self._winner], alongside=alongside)

    def choose(self, folder: Path | None, observer: Observer | None, resume: Path | None) -> Chosen:
        """Race alone, in a folder of its own; the best one starts anew, wherever it is trained.

        Args:
            resume: the folder of the run that this is a part of.

        Raises:
            FrozenError: the backbone changed.
            Interrupted: Ctrl-C; the checkpoint is saved.
        """
        self._folder, self._observer, self._resume_folder = folder, observer, resume
        with held(folder), stoppable(self._stopped):
            self._open()
            final = self._final
            if final.ended is None:
                self._train(to_the_end=False)
                self._tell_race()
                self._add_up()
                final.ended, final.log_bytes = "chosen", self._log.size()
                if folder is not None:
                    self._checkpoint.save(folder)
            name = self._winner
            raced = self._races.get(name)
            return Chosen(name, self._methods[name], self._final_setup(), raced, final)

    def _open(self) -> None:
        self._checkpoint = Checkpoint.open(self._folder, self._checkpoint.key, 1, self._parts)
        self._log = RunLog(self._folder, self._observer, keep_bytes=self._final.log_bytes)

    @property
    def _final(self) -> State:
        return self._checkpoint.runs[0]

    @cached_property
    def _plan(self) -> RacePlan:
        """Asked for once it is made."""
        return RacePlan.of_dict(self._checkpoint.notes[0]["plan"])

    @property
    def _races(self) -> dict[str, State]:
        """contestant -> its state in the race; empty without one."""
        states = self._checkpoint.runs[1:]
        return dict(zip(self._plan.racing, states, strict=True)) if states else {}

    def _train(self, *, to_the_end: bool) -> None:
        """From the checkpoint's states to the end of the race.

        Args:
            to_the_end: then train the best one, too.
        """
        first = next(iter(self.setups.values()))
        frozen = FrozenProof(self._backbone, first.rows[0], first.spec)
        if not self._checkpoint.notes:
            self._make_plan(int(self._remember(self.setups.__getitem__).get("tokens", 0)))
        kept = self._remember(self._cut)
        if "heads" not in self._checkpoint.notes[0]:
            self._fit_heads()
        if self._final.lr is None:
            self._tell_plan(kept)
        elif self._observer is not None:
            event = {"event": "resume", "step": self._final.step, "steps": self._steps}
            self._observer(event)
        self._race()
        self._score_race()
        if to_the_end:
            self._loop([self._finalist()])
        frozen.check()

    def _race(self) -> None:
        """Train the contestants to the ends of their races, as many together as fit in a pass."""
        waiting = [(name, state) for name, state in self._races.items() if state.ended is None]
        racers: list[Trainer] = []

        def add() -> None:
            running = sum(not racer.finished for racer in racers)
            while waiting and running < (self._checkpoint.together or 1):
                racers.append(self._racer(*waiting.pop(0)))
                running += 1

        add()  # those that missed a validation make it before anything else
        self._loop(racers, add)

    def _loop(self, trainers: list[Trainer], more: Callable[[], None] = lambda: None) -> None:
        run_loop(
            trainers,
            self._checkpoint,
            folder=self._folder,
            every=self._config.checkpoint_every,
            stopped=self._stopped,
            more=more,
        )

    def _remember(self, setup_of: Callable[[str], TrainSetup]) -> dict[str, int | str]:
        """Cache the inputs where a contestant leaves them as they are."""
        late = [name for name, setup in self.setups.items() if setup.leaves_inputs][:1]
        setups = [setup_of(name) for name in late]
        return remember_inputs(setups, setups, self._checkpoint, self._folder)

    def without_race(self) -> TrainSetup:
        """The first contestant's set-up if it had the whole budget; takes a few of its steps."""
        name, setup = next(iter(self.setups.items()))
        plan = self._planned({name: setup}, 0)
        return final_setup(cut(setup, plan), plan, name)

    def _planned(self, setups: Mapping[str, TrainSetup], cached: int) -> RacePlan:
        """How these contestants spend the budget; what their steps are timed with is spent, too.

        Args:
            cached: tokens of all inputs, where they are cached.
        """
        batch = {
            name: setup.config.batch_rows * setup.config.accumulation
            for name, setup in setups.items()
        }
        sizes = Sizes(len(self._task.train), len(self._task.validation), batch, self._runs)
        began, timed = time.process_time(), dict[str, Cost]()

        def cost_of(name: str) -> Cost:
            """Timed once for those that differ in nothing but their rate."""
            alike, setup = self._alike(name), setups[name]
            if alike not in timed:
                timed[alike] = measure(setup, cached if setup.leaves_inputs else None)
            return timed[alike]

        return RacePlan.of(self.budget, cost_of, sizes, spent=lambda: time.process_time() - began)

    def _make_plan(self, cached: int) -> None:
        with self._final.charged(self._backbone.counts):
            plan = self._planned(self.setups, cached)
        tokens = max(
            setup.config.batch_rows * max(row_lengths(setup.rows)) for setup in self.setups.values()
        )
        self._checkpoint.together = fit_together(self._backbone, tokens)
        self._checkpoint.notes = [{"plan": asdict(plan)}]
        if plan.race_steps:
            self._checkpoint.runs += [State() for _ in plan.racing]

    def _fit_heads(self) -> None:
        """Fit the heads of those that race; what it takes is the run's."""
        heads: dict[str, dict[str, torch.Tensor]] = {}
        with self._final.charged(self._backbone.counts):
            for name in self._plan.racing:
                if not fits_head(self.setups[name].spec, self.setups[name].trainable):
                    continue
                alike = self._alike(name)
                heads[alike] = heads.get(alike) or asdict(fit_head(self._cut(name)))
        self._checkpoint.notes[0]["heads"] = heads
        if self._folder is not None:
            self._checkpoint.save(self._folder)

    def _tell_plan(self, kept: Mapping[str, Any]) -> None:
        plan = self._plan
        self._log.write(
            "race",
            budget=str(self.budget),
            contestants=list(plan.racing),
            steps=plan.race_steps,
            left_out=[name for name in self.setups if name not in plan.racing],
            refused=dict(self._refused),
            **self._rows_used(),
            **({"needs": round(plan.needs, 2)} if plan.needs else {}),
        )
        if kept:
            self._log.write("inputs", **kept)

    def _rows_used(self) -> dict[str, list[int]]:
        """How many training and validation rows of how many, where the budget is not for all."""
        used, task = self._plan, self._task
        parts = {
            "train": [used.rows, len(task.train)],
            "validation": [used.validation_rows, len(task.validation)],
        }
        return {f"{name}_rows": part for name, part in parts.items() if part[0] < part[1]}

    def _racer(self, name: str, state: State) -> Trainer:
        setup = race_setup(self._setup(name), self._plan)
        method = setup.new_method()
        score = self._scoring(name, setup, method)
        return Trainer(setup, method, setup.peak_lr, state, RunLog(None), score=score)

    def _finalist(self) -> Trainer:
        """The best contestant's trainer, which begins where its race ended."""
        setup, final = self._final_setup(), self._final
        method = setup.new_method()
        races = self._races
        if races:
            method.load_state_dict(races[self._winner].best)
        if final.lr is None:  # its trainer will set it
            self._tell_race()
            log_start(self._log, setup, setup.start)
            self._add_up()
        score = self._scoring(self._winner, setup, method)
        return Trainer(setup, method, setup.peak_lr, final, self._log, score=score)

    def _add_up(self) -> None:
        """What the race took is the best one's, too."""
        for state in self._races.values():
            self._final.spend_as(state)

    def _scoring(self, name: str, setup: TrainSetup, method: Method) -> Callable[[], Validation]:
        return lambda: self._scores.of(self._alike(name), setup, method)

    def _alike(self, name: str) -> str:
        """The same for contestants that differ in nothing but their rate."""
        method = self._methods[name]
        rate = {method.rate} if method.rate else None
        settings = method.model_dump(mode="json", exclude=rate)
        setup = self.setups[name]
        return key_of((method.name, settings, setup.config.batch_rows, setup.spec.head))

    def _score_race(self) -> None:
        """Score each contestant as it would be kept, its head pooled, at the run's expense.

        The scores are kept with the checkpoint: a resumed run chooses the same.
        """
        notes = self._checkpoint.notes[0]
        if "scores" in notes:
            return
        with may_cut(), self._final.charged(self._backbone.counts):
            notes["scores"] = {
                name: asdict(self._as_kept(name, state)) for name, state in self._races.items()
            }
        if self._folder is not None:
            self._checkpoint.save(self._folder)

    def _as_kept(self, name: str, state: State) -> Validation:
        """A contestant's validation where its race ended."""
        setup = self._setup(name)
        if setup.spec.head != "pooled" or state.error is not None:
            return Validation(state.best_loss, state.best_accuracy)
        method = setup.new_method()
        method.load_state_dict(state.best)
        pool(setup, method)
        return setup.validate(method)

    def _raced(self, name: str) -> Validation:
        """What a contestant's race came to."""
        return Validation(**self._checkpoint.notes[0]["scores"][name])

    def _tell_race(self) -> None:
        for name, state in self._races.items():
            found = self._raced(name)
            self._log.write(
                "raced",
                contestant=name,
                loss=found.loss,
                accuracy=found.accuracy,
                steps=state.step,
                diverged=state.error is not None,
                cpu_seconds=round(state.cpu_seconds, 2),
            )
        self._log.write("chosen", contestant=self._winner, steps=self._steps)

    @property
    def _winner(self) -> str:
        """Of equals the first; without a race the first contestant."""

        def score(name: str) -> tuple[float, ...]:
            diverged = self._races[name].error is not None
            return () if diverged else self._raced(name).score(self.setups[name].config.select)

        return max(self._races, key=score, default=self._plan.racing[0])

    @property
    def _steps(self) -> int:
        return self._plan.final_steps[self._winner]

    def _final_setup(self) -> TrainSetup:
        return final_setup(self._setup(self._winner), self._plan, self._winner)

    def _setup(self, name: str) -> TrainSetup:
        """A contestant's, with its head as it was fitted."""
        setup = self._cut(name)
        head = self._checkpoint.notes[0]["heads"].get(self._alike(name))
        if head is None:
            return setup
        return setup.starting_from(replace(_prompt(setup), head=Head(**head)))

    def _cut(self, name: str) -> TrainSetup:
        """A contestant's, with the rows that the budget is for, which are read once."""
        if name not in self._cuts:
            self._cuts[name] = cut(self.setups[name], self._plan)
        return self._cuts[name]

    def _stopped(self) -> Interrupted:
        final = self._final
        what = f"stopped after step {final.step} of the best contestant"
        if final.lr is None:
            what = "stopped during the race"
        elif final.ended is not None:
            what = "stopped after the training, before the end of its test"
        return stopped_in(what, self._resume_folder, "cuecard train")


def _parts(
    setups: Mapping[str, TrainSetup],
    backbone: Backbone,
    task: Task,
    config: TrainConfig,
    runs: int,
) -> dict[str, str]:
    """What a resumed race must have in common with the one it resumes, as digests by name."""
    first = next(iter(setups.values()))
    contestants = {
        name: (dict(setup.trainable.parts), setup.config.model_dump(mode="json"))
        for name, setup in setups.items()
    }
    own = run_parts(backbone, task, first.trainable, config)
    parts = {**own, "method": key_of("auto"), "contestants": key_of(contestants)}
    return parts if runs == 1 else {**parts, "seeds": key_of(runs)}


def _prompt(setup: TrainSetup) -> TrainablePrompt:
    """What a contestant trains."""
    assert isinstance(setup.trainable, TrainablePrompt)  # none is anything else
    return setup.trainable
