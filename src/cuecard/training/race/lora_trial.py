"""A LoRA adapter's own race: a few steps in its share of the budget, then the leading prompt."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cuecard.errors import Interrupted
from cuecard.folder_lock import held
from cuecard.interrupts import may_cut
from cuecard.tasks import Task
from cuecard.training.checks import FrozenProof
from cuecard.training.config import Budget, TrainConfig
from cuecard.training.heads.pooled_head import pool
from cuecard.training.loop import run_loop
from cuecard.training.race.lora_found import LoraFound
from cuecard.training.race.pace import measure
from cuecard.training.race.paired import (
    Prior,
    RowResults,
    answers,
    by_likelihood,
    likelihoods,
    paired,
)
from cuecard.training.race.plan import Cost, RacePlan, Sizes
from cuecard.training.race.runner import Chosen
from cuecard.training.race.stages import cut, final_setup, race_setup
from cuecard.training.run import log_start
from cuecard.training.setup import TrainSetup, key_of, remember_inputs
from cuecard.training.storage.checkpoint import Checkpoint, State
from cuecard.training.storage.log import Observer, RunLog
from cuecard.training.train_lora import TrainableAdapter, lora_setup
from cuecard.training.trainables.lora import LoraSettings
from cuecard.training.trainer import Trainer
from cuecard.types import Backbone, Method

# As in a race of prompts: fewer steps say little, and more are for the run after it.
_FEWEST, _MOST = 10, 40


class LoraTrial:
    """An adapter that races alone, since its steps change what the backbone makes of every input.

    Its checkpoint's notes are its plan, then how it did.

    Args:
        config: as of the race.
        share: what it may spend, the comparison counted in.

    Raises:
        ConfigError: a backbone that takes no adapter, or a template with a place for a prompt.
        CuecardError: as `lora_setup`.
    """

    def __init__(self, backbone: Backbone, task: Task, config: TrainConfig, share: Budget) -> None:
        settings = LoraSettings()
        self.adapter = TrainableAdapter(settings)
        self.name = f"LoRA r{settings.rank}"
        self._share = share
        # As the other contestants: answers decide, where the user leaves it to the default.
        usual = config.select == TrainConfig.model_fields["select"].default
        select = "accuracy" if usual else config.select
        own = config.model_copy(update={"budget": None, "select": select})
        self._setup = lora_setup(backbone, task, self.adapter, own)
        self._parts = {**self._setup.parts, "share": key_of(str(share))}
        self._checkpoint = Checkpoint("")

    def fits(self, folder: Path) -> None:
        """
        Raises:
            TrainingError: the folder holds the checkpoint of something else.
        """
        Checkpoint.load(folder, key_of(self._parts), self._parts)

    @property
    def state(self) -> State:
        """Where its race ended."""
        return self._checkpoint.runs[0]

    def run(
        self,
        chosen: Chosen,
        folder: Path | None,
        observer: Observer | None,
        stopped: Callable[[], Interrupted],
    ) -> LoraFound:
        """Race, and be compared with the prompt that led; what is done already is read.

        Args:
            chosen: what the race of the prompts led to.
            folder: for its checkpoint and log.
            stopped: what to raise after Ctrl-C.

        Raises:
            FrozenError: the backbone changed.
            Interrupted, Stop: Ctrl-C; the checkpoint is saved.
        """
        with held(folder):
            key = key_of(self._parts)
            self._checkpoint = Checkpoint.open(folder, key, 1, self._parts)
            notes = self._checkpoint.notes
            if not notes:
                self._note(self._planned(chosen), folder)
            if len(notes) == 1:
                found = LoraFound(self.name, chosen.name, why_not=notes[0]["why_not"])
                if found.why_not is None:
                    setup = self._race_setup(chosen)
                    self._train(setup, folder, observer, stopped)
                    found = self._compared(setup, chosen, folder)
                found = replace(found, cpu_seconds=round(self.state.cpu_seconds, 2))
                self._note(asdict(found), folder)
            return LoraFound(**notes[1])

    def final_setup(self, chosen: Chosen, budget: Budget) -> TrainSetup:
        """The set-up of the run that goes on from its race.

        Args:
            budget: what is left.
        """
        setup = self._cut(chosen)
        cost = Cost(**self._checkpoint.notes[0]["cost"])
        plan = RacePlan.of(budget, lambda name: cost, self._sizes(setup))
        return final_setup(cut(setup, plan), plan, self.name)

    def _note(self, note: Mapping[str, Any], folder: Path | None) -> None:
        self._checkpoint.notes.append(dict(note))
        if folder is not None:
            self._checkpoint.save(folder)

    def _cut(self, chosen: Chosen) -> TrainSetup:
        """Its set-up with the rows that the prompts raced on."""
        task = chosen.setup.task
        rows = RacePlan((), 0, {}, len(task.train), len(task.validation))
        return cut(self._setup, rows)

    def _sizes(self, setup: TrainSetup) -> Sizes:
        batch = setup.config.batch_rows * setup.config.accumulation
        return Sizes(len(setup.task.train), len(setup.task.validation), {self.name: batch})

    def _planned(self, chosen: Chosen) -> dict[str, Any]:
        if chosen.raced is None:
            return {"why_not": "the budget has no room for a race"}
        setup, began = self._cut(chosen), time.process_time()
        with self.state.charged(setup.backbone.counts), self._attached(setup.start):
            cost = measure(setup)
        plan = RacePlan.of(
            self._share,
            lambda name: cost,
            self._sizes(setup),
            spent=lambda: time.process_time() - began,
        )
        steps = min(_MOST, plan.final_steps[self.name])
        fewer = plan.needs or steps < _FEWEST
        return {
            "plan": asdict(replace(plan, race_steps=steps)),
            "cost": asdict(cost),
            "why_not": f"its share of the budget ({self._share}) has no room for a race"
            if fewer
            else None,
        }

    def _race_setup(self, chosen: Chosen) -> TrainSetup:
        plan = RacePlan.of_dict(self._checkpoint.notes[0]["plan"])
        return race_setup(cut(self._cut(chosen), plan), plan)

    @contextmanager
    def _attached(self, method: Method) -> Iterator[None]:
        """Let the backbone run with the updates; what it remembers is of its own layers."""
        with self._setup.backbone.forgetting(), self.adapter.attached(method):
            yield

    def _train(
        self,
        setup: TrainSetup,
        folder: Path | None,
        observer: Observer | None,
        stopped: Callable[[], Interrupted],
    ) -> None:
        """From the checkpoint's state to the end of its race."""
        state = self.state
        frozen = FrozenProof(setup.backbone, setup.rows[0], setup.spec)
        log = RunLog(folder, observer, keep_bytes=state.log_bytes)
        if state.lr is None:
            log_start(log, setup, setup.start)
        with self._attached(setup.start):
            run_loop(
                [Trainer(setup, setup.start, setup.peak_lr, state, log)],
                self._checkpoint,
                folder=folder,
                every=setup.config.checkpoint_every,
                stopped=stopped,
            )
        frozen.check()

    def _compared(self, setup: TrainSetup, chosen: Chosen, folder: Path | None) -> LoraFound:
        """Both as they ended their races, on the rows that the adapter was validated on."""
        state, raced = self.state, chosen.raced
        assert raced is not None
        found = LoraFound(self.name, chosen.name, steps=state.step)
        if state.error is not None:
            return replace(found, why_not="its training diverged")
        records = setup.task.validation
        likely = by_likelihood(setup) and by_likelihood(chosen.setup)
        ask = likelihoods if likely else answers
        with may_cut(), state.charged(setup.backbone.counts):
            with self._attached(setup.start):
                ours = ask(setup, setup.start, state.best_prior, records)
            self._remember(chosen.setup, folder)
            theirs = ask(chosen.setup, *_as_it_will_be(chosen.setup, raced), records)
        return replace(found, **_difference(ours, theirs), rows=len(records))

    def _remember(self, setup: TrainSetup, folder: Path | None) -> None:
        """As after the race, also where it was resumed."""
        if setup.leaves_inputs:
            remember_inputs([setup], [setup], self._checkpoint, folder and folder.parent)
        else:
            setup.backbone.remember(())


def _as_it_will_be(setup: TrainSetup, raced: State) -> tuple[Method, Prior]:
    """A prompt where its race ended, and its prior; its head pooled as after a whole run."""
    prompt = setup.new_method()
    prompt.load_state_dict(raced.best)
    if setup.spec.head != "pooled":
        return prompt, raced.best_prior
    pool(setup, prompt)
    return prompt, setup.validate(prompt).prior


def _difference(ours: RowResults, theirs: RowResults) -> dict[str, Any]:
    """What `LoraFound` says of both."""
    seen = paired(ours, theirs)
    return {
        "metric": seen.metric,
        "lora": seen.ours,
        "prompt": seen.theirs,
        "ci95": seen.ci95,
        "taken": seen.clear,
    }
