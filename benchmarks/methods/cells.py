"""One contestant on one set with one model: trained with every seed, tested once.

Every contestant but the majority class begins at the best prompt written by hand (of those that are
plain text): a soft prompt as its text's vectors or keys and values, LoRA and full tuning with its
text in front of every row. So nothing starts below it, as far as its text is what makes it good.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from benchmarks.methods.sets import LabelledSet, Rows, by_hand, draw_task, read_task
from benchmarks.methods.weights import full, lora, trainer_of
from benchmarks.workers import short_key
from cuecard import Prompt, TrainConfig
from cuecard.errors import ConfigError, Interrupted
from cuecard.evaluation.baselines.manual import ManualPrompt
from cuecard.evaluation.baselines.selection import Choice, majority, select_manual
from cuecard.evaluation.evaluate import Evaluation, evaluate
from cuecard.evaluation.report import plain, write_json
from cuecard.methods import METHODS, LabelSettings, MethodSettings, method_settings
from cuecard.tasks import Task, TaskSpec
from cuecard.tasks.template import Template, escape
from cuecard.training.loop import run_loop
from cuecard.training.optim import default_lr
from cuecard.training.storage.checkpoint import Checkpoint, State
from cuecard.training.storage.log import Observer
from cuecard.training.trainables.capabilities import check_supported
from cuecard.training.trainables.initial_method import new_method
from cuecard.training.trainables.own_rate import own_rate
from cuecard.training.trainer import Trainer, raise_if_diverged
from cuecard.types import Backbone, Injection, Method, Slot

Kind = Literal["majority", "by hand", "lora", "full"]
BASELINES: tuple[Kind, ...] = ("majority", "by hand", "lora", "full")
# What differs from a contestant's defaults; LOG.md says what was tried for it.
SETTINGS: dict[str, dict[str, Any]] = {
    "dept": {"tokens": 64},  # no row is longer
    "lora": {"lr": 1e-3},
    "full": {"lr": 5e-5},
}
CHECKPOINT_EVERY = 8


@dataclass(frozen=True)
class Plan:
    """What every cell is run with.

    Attributes:
        rate: the share of the default learning rate at which vectors among the embeddings learn,
            where the method has no default of its own; see LOG.md.
        data: a file instead of each set's own source.
    """

    seeds: int = 1
    steps: int = 120
    rate: float = 1.0
    rows: Rows = field(default_factory=Rows)
    data: str | None = None

    @property
    def key(self) -> str:
        """Names the folder: cells of another plan are not taken for this one's."""
        return short_key(asdict(self))

    @property
    def config(self) -> TrainConfig:
        """How each seed is trained."""
        return TrainConfig(
            steps=self.steps,
            warmup=min(4, self.steps),
            # Half-way and at the end, beside the start: nothing ends below it on these rows.
            eval_every=max(1, self.steps // 2),
            checkpoint_every=CHECKPOINT_EVERY,
        )


@dataclass(frozen=True)
class Cell:
    """A model, a set and a contestant: a baseline or the name of a method."""

    model: str
    set: str
    contestant: str

    def file(self, folder: Path) -> Path:
        """Where its result goes: with other settings, somewhere else."""
        name = self.contestant.replace(" ", "-")
        if self.settings:
            name += f"-{short_key(self.settings)}"
        return folder / Path(self.model).name / self.set / f"{name}.json"

    @property
    def settings(self) -> dict[str, Any]:
        """What differs from the contestant's defaults."""
        return SETTINGS.get(self.contestant, {})


class Contest:
    """One model on one set: the task, the prompt written by hand, and every contestant."""

    def __init__(
        self, backbone: Backbone, chosen: LabelledSet, plan: Plan, folder: Path, tell: Observer
    ) -> None:
        self._backbone, self._set, self._plan, self._tell = backbone, chosen, plan, tell
        self._folder = folder
        self._task = read_task(chosen, plan.rows, plan.data)

    def run(self, cell: Cell) -> dict[str, Any]:
        """The cell's result, written to its file."""
        found = asdict(cell) | self._run(cell)
        write_json(found, cell.file(self._folder))
        shutil.rmtree(self._room(cell), ignore_errors=True)
        return found

    def _run(self, cell: Cell) -> dict[str, Any]:
        match cell.contestant:
            case "majority":
                first = draw_task(self._task, self._plan.rows, 0)
                found = majority(self._task.spec, first.train, self._task.test)
                return {"seeds": [_tested(found)], "parameters": 0, "bytes": 0}
            case "by hand":
                return self._by_hand()
            case "lora" | "full":
                return self._weights(cell)
            case _:
                return self._prompts(cell)

    def _by_hand(self) -> dict[str, Any]:
        backbone = self._backbone
        first = draw_task(self._task, self._plan.rows, 0)
        started = time.process_time()
        candidates = by_hand(self._set, first, backbone)
        choice = select_manual(backbone, first.spec, first.validation, candidates)
        spent = time.process_time() - started
        start = _best_plain(choice, candidates)
        found = evaluate(backbone, choice.spec, first.test, prior=choice.prior)
        return {
            "seeds": [_tested(found) | {"validation_accuracy": choice.score, "train_cpu_s": spent}],
            "parameters": 0,
            "bytes": len(choice.spec.template.encode()),
            "name": choice.manual.name,
            "variant": choice.variant,
            "start": {"name": start.name, **_parted(start, first.spec)},
            "candidates": plain(choice.table),
        }

    def _start(self, cell: Cell) -> dict[str, Any]:
        """The text and the record's template of the best plain prompt written by hand."""
        hand = replace(cell, contestant="by hand")
        start: dict[str, Any] = json.loads(hand.file(self._folder).read_text())["start"]
        return start

    def _prompts(self, cell: Cell) -> dict[str, Any]:
        backbone, start = self._backbone, self._start(cell)
        settings: dict[str, Any] = {"init": "text", "text": start["text"] or None}
        try:
            method = method_settings(cell.contestant, settings | cell.settings)
            check_supported(backbone, method)
        except ConfigError as error:
            return {"unsupported": str(error)}
        tasks = self._tasks(start["template"])
        trainers, checkpoint = self._trainers(tasks, method, cell)
        room = self._room(cell)
        room.mkdir(parents=True, exist_ok=True)
        _train(trainers, checkpoint, room)
        seeds = [
            self._result(backbone, task, trainer, trainer.method.injection(), method.slot)
            for task, trainer in zip(tasks, trainers, strict=True)
        ]
        prompt = Prompt.create(
            trainers[0].method.injection(),
            backbone=backbone,
            spec=tasks[0].spec,
            method=method.name,
            method_config=method.model_dump(mode="json"),
            slot=method.slot,
        )
        return {
            "seeds": seeds,
            "parameters": sum(p.numel() for p in trainers[0].method.parameters()),
            "bytes": prompt.nbytes,
            "lr": trainers[0].lr,
            "settings": cell.settings,
        }

    def _trainers(
        self, tasks: Sequence[Task], method: MethodSettings, cell: Cell
    ) -> tuple[list[Trainer], Checkpoint]:
        """A seed each, from where an earlier sitting left them."""
        key = f"{self._plan.key} {cell}"
        found = Checkpoint.load(self._room(cell), key) or Checkpoint(key, [State() for _ in tasks])
        trainers = []
        for seed, (task, state) in enumerate(zip(tasks, found.runs, strict=True)):
            made = new_method(self._backbone, task.spec, method, seed)
            trainers.append(
                self._trainer(
                    self._backbone, task, made, seed, state, own_rate(method), method.slot
                )
            )
        return trainers, found

    def _trainer(
        self,
        backbone: Backbone,
        task: Task,
        made: Method,
        seed: int,
        state: State,
        lr: float | None,
        slot: Slot = "prefix",
    ) -> Trainer:
        config = self._plan.config.model_copy(update={"seed": seed})
        lr = lr or self._plan.rate * default_lr(config, backbone.embeddings)
        return trainer_of(backbone, task, made, config, lr, state, self._tell, slot)

    def _weights(self, cell: Cell) -> dict[str, Any]:
        """LoRA or full tuning, one seed after the other: each has weights of its own."""
        start = self._start(cell)
        tasks = self._tasks(escape(start["text"]) + start["template"], escape(start["text"]))
        seeds, size, count = [], 0, 0
        for seed, task in enumerate(tasks):
            kept = self._room(cell) / f"{seed}.json"
            if not kept.exists():
                write_json(self._one_weights(cell, task, seed), kept)
            found = json.loads(kept.read_text())
            seeds.append(found["seed"])
            size, count = found["bytes"], found["parameters"]
        return {"seeds": seeds, "parameters": count, "bytes": size, "settings": cell.settings}

    def _one_weights(self, cell: Cell, task: Task, seed: int) -> dict[str, Any]:
        base, lr = self._backbone, cell.settings["lr"]
        opened = lora(base, seed) if cell.contestant == "lora" else full(base)
        with opened as (backbone, weights):
            trainer = self._trainer(backbone, task, weights, seed, State(), lr)
            _train([trainer], Checkpoint("", [trainer.state]), None)
            found = self._result(backbone, task, trainer, weights.injection(), "prefix")
            count = sum(p.numel() for p in weights.parameters())
        # LoRA's factors are kept in float32, as PEFT does, a whole model in the backbone's own
        # precision.
        each = 4 if cell.contestant == "lora" else base.embeddings.element_size()
        return {"seed": found, "parameters": count, "bytes": each * count}

    def _tasks(self, template: str, ahead: str = "") -> list[Task]:
        """Every seed's task, asked by this template; no row is cut because of what is ahead."""
        spec = self._task.spec
        longer = len(self._backbone.tokenizer.encode(ahead)) if ahead else 0
        changes = {"template": template, "max_length": spec.max_length + longer}
        asked = TaskSpec(**(spec.model_dump() | changes))
        whole = replace(self._task, spec=asked)
        return [draw_task(whole, self._plan.rows, seed) for seed in range(self._plan.seeds)]

    def _result(
        self, backbone: Backbone, task: Task, trainer: Trainer, injection: Injection, slot: Slot
    ) -> dict[str, Any]:
        """A trained seed on the test rows, read with what validation says of its leaning."""
        state = trainer.state
        found = evaluate(
            backbone, task.spec, task.test, injection, slot=slot, prior=state.best_prior
        )
        return _tested(found) | {
            "validation_accuracy": state.best_accuracy,
            "validation_loss": state.best_loss,
            "validations": state.validations,
            "best_step": state.best_step,
            "train_cpu_s": state.cpu_seconds,
        }

    def _room(self, cell: Cell) -> Path:
        return cell.file(self._folder).with_suffix("")


def contestants(methods: Sequence[str] | None = None) -> list[str]:
    """The baselines and the methods, in the order they are run."""
    alone = [
        name
        for name, method in METHODS.items()
        # On one task there is nothing to share or to mix; and vectors around labels are for images.
        if not method.several_tasks and not issubclass(method, LabelSettings)
    ]
    chosen = alone if methods is None else list(methods)
    first: list[str] = ["majority", "by hand"]
    return first + [name for name in [*chosen, "lora", "full"] if name not in first]


def _train(trainers: list[Trainer], checkpoint: Checkpoint, folder: Path | None) -> None:
    def stopped() -> Interrupted:
        return Interrupted("stopped", where=None if folder is None else str(folder))

    run_loop(trainers, checkpoint, folder=folder, every=CHECKPOINT_EVERY, stopped=stopped)
    for trainer in trainers:
        raise_if_diverged(trainer.state)


def _tested(found: Evaluation) -> dict[str, Any]:
    right = "".join("1" if value else "0" for value in found.correct)
    return {"score": found.score, "right": right, "test_s": found.seconds}


def _best_plain(choice: Choice, candidates: Sequence[ManualPrompt]) -> ManualPrompt:
    """The candidate that is plain text with the best validation score, however it is read."""
    plain_ones = {manual.name: manual for manual in candidates if not manual.chat}
    scores = [(trial.score, trial.name) for trial in choice.table if trial.name in plain_ones]
    best = max(score for score, _ in scores)
    return plain_ones[next(name for score, name in scores if score == best)]


def _parted(manual: ManualPrompt, spec: TaskSpec) -> dict[str, str]:
    """What stands before a record in a prompt written by hand, and the record's own part."""
    words = spec.verbalizer.words
    shown = [
        f"{Template(manual.template).render(dict(record.texts))} {words[str(record.target)]}\n\n"
        for record in manual.demonstrations
    ]
    return {"text": manual.instruction + "".join(shown), "template": manual.template}
