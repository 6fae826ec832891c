"""One cell of the multitask benchmark: a source's prompt, what all share, or a target's run."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.multitask.sets import SOURCES, Rows, source_task, target_task
from benchmarks.workers import short_key
from cuecard import ATTEMPT, MPT, PromptTuning, TrainConfig, multitask, train
from cuecard.artifacts import Prompt, SharedPrompt
from cuecard.evaluation.report import plain, write_json
from cuecard.metrics.intervals import mean_interval
from cuecard.tasks import Task, draw_rows
from cuecard.training.multitask_trainer import SHARED as SHARED_FOLDER
from cuecard.training.objective.loss import PromptBatch, batch_losses
from cuecard.types import Backbone, MethodConfig

ALONE, SPOT, MULTITASK, MIX = "prompt tuning", "SPoT", "MPT", "ATTEMPT"
CONTESTANTS = (ALONE, SPOT, MULTITASK, MIX)
SOURCE, SHARED = "source", "shared"

# Validation rows that SPoT chooses its source by, and validations of a run.
_CHOICE, _VALIDATIONS = 16, 4


@dataclass(frozen=True)
class Plan:
    """What every cell is run with.

    Attributes:
        length: vectors of every prompt.
        source_steps: of each source's own prompt, and of the shared one.
        steps: of a target's run.
        sources: names of the source tasks.
        package: the wheel of sae-probes; "" fetches it.
    """

    backbone: str
    length: int = 20
    source_steps: int = 60
    steps: int = 30
    batch_rows: int = 8
    sources: tuple[str, ...] = tuple(each.name for each in SOURCES)
    package: str = ""
    rows: Rows = field(default_factory=Rows)

    @property
    def key(self) -> str:
        """Names the folder: cells of another plan are not taken for this one's."""
        return short_key(asdict(self))

    def config(self, steps: int, seed: int) -> TrainConfig:
        """How a run of so many steps is trained, at its method's own rates."""
        return TrainConfig(
            steps=steps,
            warmup=min(10, steps),
            batch_rows=self.batch_rows,
            eval_every=-(-steps // _VALIDATIONS),
            seed=seed,
        )

    def source(self, name: str) -> Task:
        """A source task."""
        return source_task(name, self.rows, Path(self.package) if self.package else None)

    def target(self, name: str, examples: int, seed: int) -> Task:
        """A target task."""
        place = Path(self.package) if self.package else None
        return target_task(name, examples, seed, self.rows, place)


@dataclass(frozen=True)
class Cell:
    """A source task's prompt, what all sources share, or a contestant on a target task.

    Attributes:
        examples, seed: of a target.
    """

    plan: Plan
    contestant: str
    set: str = ""
    examples: int = 0
    seed: int = 0

    def file(self, folder: Path) -> Path:
        """Where its result goes."""
        home = folder / self.plan.key
        if self.contestant in (SOURCE, SHARED):
            return home / f"{self.contestant}-{self.set or 'all'}.json"
        name = f"{self.contestant.replace(' ', '-')}-{self.examples}-{self.seed}.json"
        return home / self.set / name

    def kept(self, folder: Path) -> Path:
        """Where a source's prompt, or the multitask run, is."""
        return self.file(folder).with_suffix("")

    @property
    def needs(self) -> list[Cell]:
        """The cells that come before it."""
        sources = [Cell(self.plan, SOURCE, name) for name in self.plan.sources]
        shared = [Cell(self.plan, SHARED)]
        return {SHARED: sources, SPOT: sources, MIX: sources, MULTITASK: shared}.get(
            self.contestant, []
        )

    def ready(self, folder: Path) -> bool:
        """Whether what it needs is there."""
        return all(cell.file(folder).exists() for cell in self.needs)

    def run(self, backbone: Backbone, folder: Path) -> dict[str, Any]:
        """Its result, written to its file."""
        run = {SOURCE: _source, SHARED: _shared}.get(self.contestant, _target)
        own: dict[str, Any] = {"contestant": self.contestant, "set": self.set}
        if self.examples:
            own |= {"examples": self.examples, "seed": self.seed}
        found: dict[str, Any] = plain({**own, **run(self, backbone, folder)})
        write_json(found, self.file(folder))
        return found


def _source(cell: Cell, backbone: Backbone, folder: Path) -> dict[str, Any]:
    plan = cell.plan
    method = PromptTuning(length=plan.length, init="vocabulary")
    run = train(backbone, plan.source(cell.set), method, plan.config(plan.source_steps, 0))
    run.prompt.save(cell.kept(folder), overwrite=True)
    assert run.test is not None
    return {"test": run.test.score, "cpu_s": run.cpu_seconds, "steps": run.steps}


def _shared(cell: Cell, backbone: Backbone, folder: Path) -> dict[str, Any]:
    """MPT's second stage; the sources' own prompts are its teachers."""
    plan, began = cell.plan, time.process_time()
    found = multitask(
        backbone,
        {name: plan.source(name) for name in plan.sources},
        MPT(length=plan.length, init="vocabulary"),
        plan.config(plan.source_steps, 0),
        teachers=_sources(cell, folder),
        folder=cell.kept(folder),
        observer=lambda event: None,
    )
    tests = {name: run.test for name, run in found.runs.items()}
    return {
        "sources": {name: test.score for name, test in tests.items() if test},
        "cpu_s": time.process_time() - began,
        "steps": found.steps,
    }


def _target(cell: Cell, backbone: Backbone, folder: Path) -> dict[str, Any]:
    plan = cell.plan
    task, began = plan.target(cell.set, cell.examples, cell.seed), time.process_time()
    method, told = _method(cell, backbone, folder, task)
    chosen = time.process_time() - began
    run = train(backbone, task, method, plan.config(plan.steps, cell.seed))
    assert run.test is not None
    assert run.prompt.manifest.parameters is not None
    right = [float(value) for value in run.test.vectors["accuracy"]]
    return {
        "test": sum(right) / len(right),
        "test_ci95": mean_interval(right),
        "right": "".join(str(int(value)) for value in right),
        "trained": run.prompt.manifest.parameters.trained,
        "bytes": run.prompt.nbytes,
        "best_step": run.best_step,
        "train_rows": len(task.train),
        "validation_rows": len(task.validation),
        "cpu_s": chosen + run.cpu_seconds,
        **told,
    }


def _method(
    cell: Cell, backbone: Backbone, folder: Path, task: Task
) -> tuple[MethodConfig, dict[str, Any]]:
    """What is trained, and what was chosen for it."""
    plan = cell.plan
    if cell.contestant == SPOT:
        name, vectors = _nearest(backbone, task, _sources(cell, folder))
        return PromptTuning(init="prompt", prompt=vectors), {"from": name}
    if cell.contestant == MULTITASK:
        shared = SharedPrompt.load(Cell(plan, SHARED).kept(folder) / SHARED_FOLDER, backbone)
        return MPT(init="prompt", prompt=shared.start()), {}
    if cell.contestant == MIX:
        sources = [prompt.vectors for prompt in _sources(cell, folder).values()]
        return ATTEMPT(init="vocabulary", sources=torch.stack(sources)), {}
    return PromptTuning(length=plan.length, init="vocabulary"), {}


def _sources(cell: Cell, folder: Path) -> dict[str, Prompt]:
    plan = cell.plan
    return {name: Prompt.load(Cell(plan, SOURCE, name).kept(folder)) for name in plan.sources}


def _nearest(
    backbone: Backbone, task: Task, sources: dict[str, Prompt]
) -> tuple[str, torch.Tensor]:
    """The source prompt with the lowest loss on a few validation rows, before any training."""
    few = draw_rows(task.validation, _CHOICE, "choice")
    rows = [task.spec.encode(record, backbone.tokenizer, "prefix") for record in few]
    parts = [
        PromptBatch(task.spec, rows, prompt.injection(), "labels") for prompt in sources.values()
    ]
    with torch.no_grad():
        losses = batch_losses(backbone, parts)
    found = dict(zip(sources, losses, strict=True))
    name = min(found, key=lambda each: float(found[each]))
    return name, sources[name].vectors
