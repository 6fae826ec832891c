"""Prompts trained on labels, and prompts of one model ported to another without any."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.compile.plan import Load, Plan
from benchmarks.methods.sets import SETS, draw_task, read_task, rows_beside
from benchmarks.workers import KeptCell
from cuecard import PromptTuning, train
from cuecard.artifacts import Prompt
from cuecard.metrics.intervals import paired_interval
from cuecard.tasks import Task, draw_rows
from cuecard.training.porting.outcome import PortedPrompt
from cuecard.training.porting.porter import PromptPorter
from cuecard.training.porting.sources import PortSource
from cuecard.training.storage.log import Observer
from cuecard.types import Record


@dataclass(frozen=True)
class TrainedCell:
    """A model and a set: a prompt that is trained on labels, to be ported, or to compare with."""

    plan: Plan
    backbone: str
    set: str

    def file(self, folder: Path) -> Path:
        """Where its result goes."""
        return self.plan.place(folder, "trained", Path(self.backbone).name, self.set)

    def prompt(self, folder: Path) -> Path:
        """Where its prompt is."""
        return self.file(folder).with_suffix("") / "prompt"

    @property
    def needs(self) -> tuple[KeptCell, ...]:
        """Nothing."""
        return ()

    def run(self, load: Load, folder: Path, tell: Observer) -> dict[str, Any]:
        """Train and test; goes on from its checkpoint."""
        run = train(
            load(self.backbone),
            self.task,
            PromptTuning(length=self.plan.length),
            self.plan.config,
            folder=self.prompt(folder).parent,
            observer=tell,
        )
        assert run.test is not None
        return {
            "set": self.set,
            "right": [float(each) for each in run.test.correct],
            "test": run.test.score,
            "cpu_s": run.cpu_seconds,
        }

    @property
    def task(self) -> Task:
        """The set's rows with labels."""
        return draw_task(self._whole, self.plan.rows, 0)

    @property
    def unlabelled(self) -> tuple[Record, ...]:
        """Other rows without their labels."""
        task = self.task
        others = rows_beside(self._whole.train, (*task.train, *task.validation))
        drawn = draw_rows(others, self.plan.unlabelled, "unlabelled")
        return tuple(replace(row, target=None) for row in drawn)

    @property
    def _whole(self) -> Task:
        return read_task(SETS[self.set], self.plan.rows, self.plan.data or None)


@dataclass(frozen=True)
class PortedCell:
    """Two models: the prompts of one, all ported to the other in one pass."""

    plan: Plan
    old: str
    new: str
    sets: tuple[str, ...]

    def file(self, folder: Path) -> Path:
        """Where its result goes."""
        names = (Path(each).name for each in (self.old, self.new))
        return self.plan.place(folder, "ported", " to ".join(names))

    @property
    def needs(self) -> tuple[KeptCell, ...]:
        """The prompts of both models."""
        return tuple(
            TrainedCell(self.plan, backbone, one)
            for backbone in (self.old, self.new)
            for one in self.sets
        )

    def run(self, load: Load, folder: Path, tell: Observer) -> dict[str, Any]:
        """Port, and compare with the old prompts and with prompts that were trained anew."""
        began = time.process_time()
        sources = [self._source(TrainedCell(self.plan, self.old, one), folder) for one in self.sets]
        porter = PromptPorter(
            load(self.new),
            sources,
            lambda _: load(self.old),
            config=self.plan.config,
            folder=self.file(folder).with_suffix(""),
            observer=tell,
        )
        found = porter.run()
        spent = time.process_time() - began
        return {
            "old": Path(self.old).name,
            "new": Path(self.new).name,
            "sets": [
                self._told(one, each, folder) for one, each in zip(self.sets, found, strict=True)
            ],
            "cpu_s": sum(each.run.cpu_seconds for each in found),
            "spent_with_answers_s": spent,
        }

    def _source(self, cell: TrainedCell, folder: Path) -> PortSource:
        prompt, name = Prompt.load(cell.prompt(folder)), cell.set.replace(" ", "-")
        return PortSource(name, prompt, cell.unlabelled, cell.task.test)

    def _told(self, name: str, each: PortedPrompt, folder: Path) -> dict[str, Any]:
        anew = json.loads(TrainedCell(self.plan, self.new, name).file(folder).read_text())
        old, new = each.old_score, each.new_score
        assert old is not None
        assert new is not None
        return {
            "set": name,
            "agreement": each.fidelity.agreement,
            "agreement_ci95": each.fidelity.agreement_ci95,
            "without": each.untrained.agreement,
            "old": old.score,
            "ported": new.score,
            "anew": anew["test"],
            "ported_minus_old": new.score - old.score,
            "ported_minus_old_ci95": paired_interval(new.correct, old.correct),
            "ported_minus_anew_ci95": paired_interval(new.correct, anew["right"]),
            "cpu_s": each.run.cpu_seconds,
            "anew_cpu_s": anew["cpu_s"],
        }
