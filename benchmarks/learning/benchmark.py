"""What is learnt within a budget of CPU time: `--method auto`, LoRA, prompt tuning, TF-IDF.

Every contestant gets the same rows and the same budget of training, validations included; what it
takes to test is not counted. Rates and steps are chosen on validation rows, test rows are scored
once. Cells that are in the results already are not run again.

python -m benchmarks.learning --sets topic,intent --rows 400 --seconds 60,150 --seeds 0,1,2
python -m benchmarks.learning --sets headlines --contestants auto,lora --seconds 150
python -m benchmarks.learning --folder my-sets    # each folder in it has train, val and test.csv
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.learning.peft import run_peft
from benchmarks.learning.sets import NAMES, LearningSet, named_sets, sets_in
from benchmarks.learning.tables import learning_table
from benchmarks.machine import machine, versions
from benchmarks.places import RESULTS
from cuecard import LoraSettings, PromptTuning, Task, TrainConfig, auto, load_backbone, train
from cuecard.evaluation.baselines.text_models import fit_tfidf
from cuecard.evaluation.evaluate import evaluate
from cuecard.evaluation.report import write_json
from cuecard.tasks import draw_rows
from cuecard.training.config import Budget
from cuecard.training.race.pace import measure
from cuecard.training.race.plan import RacePlan, Sizes
from cuecard.training.setup import TrainSetup
from cuecard.training.train_lora import TrainableAdapter, train_lora
from cuecard.training.trainables.trainable import Trainable, TrainablePrompt
from cuecard.types import Backbone

OUT = RESULTS / "learning.json"
LORA_RATES = (1e-3, 3e-4, 3e-3)
PROMPT_RATES = (0.01, 0.03, 0.1)


@dataclass(frozen=True)
class Cell:
    """A contestant on a set, with rows, a budget and a seed.

    Attributes:
        score: on the test rows, by the set's metric.
        seconds: of CPU, of training, validations and what chose the rate.
        trained: numbers trained.
        note: what was chosen.
    """

    contestant: str
    set: str
    rows: int
    budget: float
    seed: int
    score: float
    seconds: float
    trained: int
    note: str
    metric: str = "accuracy"

    @property
    def key(self) -> tuple[Any, ...]:
        """What it is a cell of."""
        return self.contestant, self.set, self.rows, self.budget, self.seed


# The test rows' metrics, CPU-seconds, numbers trained, and what was chosen.
Found = tuple[Mapping[str, float], float, int, str]
Contestant = Callable[[Backbone, Task, float, int], Found]


def run_auto(backbone: Backbone, task: Task, budget: float, seed: int) -> Found:
    """`--method auto` with its defaults."""
    told: list[dict[str, Any]] = []
    config = TrainConfig(budget=f"{budget:g}s", seed=seed)
    run = auto(backbone, task, config, observer=told.append)
    (chosen,) = [event for event in told if event["event"] == "chosen"]
    assert run.test is not None
    return run.test.metrics, run.cpu_seconds, run.trained, f"{chosen['contestant']}, {run.steps}"


def run_auto_head(backbone: Backbone, task: Task, budget: float, seed: int) -> Found:
    """The same with a head, as `--head trained` has it."""
    spec = task.spec.model_copy(update={"head": "trained"})
    return run_auto(backbone, replace(task, spec=spec), budget, seed)


def run_lora(backbone: Backbone, task: Task, budget: float, seed: int) -> Found:
    """LoRA of rank 8 on every linear layer; the best of three rates in short runs goes on."""
    settings = LoraSettings(rank=8)
    trainable = TrainableAdapter(settings)

    def once(task: Task, config: TrainConfig) -> Any:
        return train_lora(backbone, task, settings, config, observer=lambda event: None)

    return _tuned(backbone, task, budget, seed, trainable, LORA_RATES, once)


def run_prompt_tuning(backbone: Backbone, task: Task, budget: float, seed: int) -> Found:
    """Prompt tuning of 20 vectors from a text; the best of three rates in short runs goes on."""
    method = PromptTuning(length=20)

    def once(task: Task, config: TrainConfig) -> Any:
        return train(backbone, task, method, config, observer=lambda event: None)

    trainable = TrainablePrompt(method)
    return _tuned(backbone, task, budget, seed, trainable, PROMPT_RATES, once)


def _tuned(
    backbone: Backbone,
    task: Task,
    budget: float,
    seed: int,
    trainable: Trainable,
    rates: tuple[float, ...],
    once: Callable[[Task, TrainConfig], Any],
) -> Found:
    setup = TrainSetup.of(backbone, task, trainable, TrainConfig(seed=seed))
    with trainable.attached(setup.start):
        cost = measure(setup)
    names = {f"{rate:g}": rate for rate in rates}
    sizes = Sizes(
        len(task.train), len(task.validation), dict.fromkeys(names, setup.config.batch_rows)
    )
    plan = RacePlan.of(Budget(budget), lambda name: cost, sizes)
    task = replace(task, validation=draw_rows(task.validation, plan.validation_rows, "race"))
    spent, best = 0.0, plan.racing[0]
    if plan.race_steps:
        found = {}
        for name in plan.racing:
            config = _config(plan.race_steps, 1, names[name], seed)
            run = once(replace(task, test=()), config)
            found[name], spent = run.validation.loss, spent + run.cpu_seconds
        best = min(found, key=lambda name: found[name])
    run = once(task, _config(plan.final_steps[best], plan.looks or 1, names[best], seed))
    note = f"rate {best} of {len(plan.racing)}, {run.steps} steps"
    return run.test.metrics, spent + run.cpu_seconds, run.trained, note


def _config(steps: int, looks: int, rate: float, seed: int) -> TrainConfig:
    """Settings of a run with so many validations after its first."""
    warmup = min(10, max(1, steps // 5))
    return TrainConfig(
        steps=steps, eval_every=math.ceil(steps / looks), lr=rate, seed=seed, warmup=warmup
    )


def run_tfidf(backbone: Backbone, task: Task, budget: float, seed: int) -> Found:
    """TF-IDF and logistic regression, its strength by validation rows."""
    started = time.process_time()
    found = fit_tfidf(task.spec, task.train, task.validation, task.test)
    kind = task.spec.task_kind
    gold = [task.spec.with_value(record).target for record in task.test]
    metrics = kind.score(task.spec, gold, found.predictions).metrics
    return metrics, time.process_time() - started, found.nbytes // 4, ""


def run_start(backbone: Backbone, task: Task, budget: float, seed: int) -> Found:
    """The untrained start of prompt tuning: the task's instruction in front of the input."""
    setup = TrainSetup.of(backbone, task, TrainablePrompt(PromptTuning()), TrainConfig(seed=seed))
    found = evaluate(backbone, task.spec, task.test, setup.start.injection())
    return found.metrics, 0.0, 0, ""


CONTESTANTS: dict[str, Contestant] = {
    "auto": run_auto,
    "auto-head": run_auto_head,
    "lora": run_lora,
    "prompt-tuning": run_prompt_tuning,
    "peft": run_peft,
    "tfidf": run_tfidf,
    "start": run_start,
}
# Those that no budget changes.
UNTRAINED = ("tfidf", "start")
# Those that write no texts.
LABELS_ONLY = ("auto-head", "tfidf", "peft")


def _sets(folder: Path | None, names: Sequence[str], rows: int, seed: int) -> Iterator[LearningSet]:
    if folder is not None:
        return sets_in(folder, names, rows, seed)
    return named_sets(names or NAMES, rows, seed)


def numbers(text: str) -> list[float]:
    """A comma-separated list."""
    return [float(part) for part in text.split(",")]


def main() -> None:
    """Run the cells that are missing, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning", description=__doc__)
    parser.add_argument("--sets", default="")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--rows", type=numbers, default=[400])
    parser.add_argument("--seconds", type=numbers, default=[60, 150])
    parser.add_argument("--seeds", type=numbers, default=[0, 1, 2])
    parser.add_argument("--contestants", default=",".join(CONTESTANTS))
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    names = [name for name in args.sets.split(",") if name]
    cells = _load(args.out, args.model)
    backbone = load_backbone(args.model)
    for seed in map(int, args.seeds):
        for rows in map(int, args.rows):
            for each in _sets(args.folder, names, rows, seed):
                for budget in args.seconds:
                    for contestant in args.contestants.split(","):
                        spent = 0.0 if contestant in UNTRAINED else budget
                        key = (contestant, each.name, rows, spent, seed)
                        if any(cell.key == key for cell in cells):
                            continue
                        if each.metric != "accuracy" and contestant in LABELS_ONLY:
                            continue
                        backbone.remember(())
                        found = CONTESTANTS[contestant](backbone, each.task, spent, seed)
                        score = float(found[0][each.metric])
                        cells.append(Cell(*key, score, *found[1:], each.metric))
                        _save(args.out, args.model, cells)
                        print(cells[-1], flush=True)
    print(learning_table(_report(args.model, cells)))


def _load(path: Path, model: str) -> list[Cell]:
    if not path.is_file():
        return []
    found = json.loads(path.read_text("utf-8"))
    return [Cell(**cell) for cell in found["cells"]] if found["model"] == model else []


def _save(path: Path, model: str, cells: list[Cell]) -> None:
    write_json(_report(model, cells), path)


def _report(model: str, cells: list[Cell]) -> dict[str, Any]:
    found = [asdict(cell) for cell in cells]
    return {"model": model, "machine": machine(), "versions": versions(), "cells": found}
