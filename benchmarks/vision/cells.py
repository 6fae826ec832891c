"""One contestant on one set of images: its rate chosen, trained with every seed, tested once."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from cuecard import auto
from cuecard.backbones import VisionBackbone
from cuecard.comparison.sealed_task import SealedTask
from cuecard.evaluation.baselines.image_models import fit_nearest_mean, image_vectors
from cuecard.evaluation.baselines.text_models import STRENGTHS
from cuecard.evaluation.evaluate import evaluate
from cuecard.methods import DeepPrompts, MethodSettings, PromptTuning, PTuningV2
from cuecard.tasks import Task, TaskSpec
from cuecard.training.config import TrainConfig
from cuecard.training.run import Trained
from cuecard.training.setup import TrainSetup
from cuecard.training.sweeps.runner import SweepRunner
from cuecard.training.sweeps.space import SweepConfig
from cuecard.training.train import train_alone
from cuecard.training.train_lora import TrainableAdapter
from cuecard.training.trainables.full_weights import TrainableModel
from cuecard.training.trainables.head import head_of
from cuecard.training.trainables.lora import LoraSettings
from cuecard.training.trainables.trainable import Trainable
from cuecard.types import Backbone, Record

LENGTH = 10
PROMPTS: Mapping[str, MethodSettings] = {
    "shallow xavier": PromptTuning(length=LENGTH, init="xavier"),
    "shallow patches": PromptTuning(length=LENGTH, init="patches"),
    "deep xavier": DeepPrompts(length=LENGTH, init="xavier"),
    "deep patches": DeepPrompts(length=LENGTH, init="patches"),
    "deep vipamin": DeepPrompts(length=LENGTH, init="vipamin"),
    "prefix patches": PTuningV2(length=LENGTH, init="patches"),
}
CONTESTANTS = ("nearest mean", "linear", *PROMPTS, "auto", "lora", "full")
RATES: Mapping[str, tuple[float, ...]] = {
    "shallow": (0.003, 0.01, 0.02),
    "deep": (0.0005, 0.001, 0.002),
    "prefix": (0.01, 0.03, 0.1),
    "lora": (0.0003, 0.001, 0.003),
    "full": (1e-5, 3e-5, 1e-4),
}
"""What is tried for AdamW, as many for each; the head's is always the same."""

HEAD_LR = 0.003
_COMMAND = "make bench-vision"


@dataclass(frozen=True)
class Plan:
    """What every cell is run with."""

    model: str
    side: int = 84
    examples: int = 1000
    test_rows: int = 500
    epochs: int = 1
    batch_rows: int = 8
    seeds: tuple[int, ...] = (42,)

    @property
    def selection_rows(self) -> int:
        """Examples that train while a rate is chosen; the others choose."""
        return round(0.8 * self.examples)

    def training(self, rows: int, **more: Any) -> TrainConfig:
        """How so many rows are trained on: the last step counts."""
        steps = self.epochs * math.ceil(rows / self.batch_rows)
        return TrainConfig(
            steps=steps,
            batch_rows=self.batch_rows,
            warmup=min(10, steps // 4),
            head_lr=HEAD_LR,
            eval_every=steps,
            select="accuracy",
            calibrate=False,
            **more,
        )


class Contest:
    """A set's contestants.

    Args:
        room: an empty folder for what a stopped contestant goes on from.
    """

    def __init__(self, backbone: Backbone, task: SealedTask, plan: Plan, room: Path) -> None:
        self._backbone, self._task, self._plan, self._room = backbone, task, plan, room

    def run(self, contestant: str) -> dict[str, Any]:
        """What it scored with each seed, as texts of 0 and 1 by test row, and what it took."""
        if contestant in PROMPTS:
            return self._prompt(PROMPTS[contestant], RATES[contestant.split()[0]])
        if contestant == "auto":
            return self._auto()
        if contestant == "lora":
            return self._weights(TrainableAdapter(LoraSettings()), RATES["lora"])
        if contestant == "full":
            return self._weights(LAYERS, RATES["full"])
        return self._of_states(contestant)

    def _of_states(self, contestant: str) -> dict[str, Any]:
        """What is learnt from the frozen encoder's states alone."""
        spec, task, started = self._task.retraining.spec, self._task, time.process_time()
        every = task.retraining.train
        states = {id(r): v for r, v in zip(every, self._states(every), strict=True)}
        test = self._states(task.sealed)
        found: dict[str, Any] = {}
        if contestant == "nearest mean":
            fitted = fit_nearest_mean(spec, (every, _of(states, every)), test, "states")
            answers, size = [p.answer for p in fitted.predictions], fitted.nbytes
            found["parameters"] = 0
        else:
            strength, validation = self._strength(states)
            probe = _probe(strength).fit(_of(states, every), _labels(spec, every))
            answers = list(probe.predict(test))
            size = 4 * len(spec.labels) * (test.shape[1] + 1)
            found |= {"parameters": size // 4, "strength": strength, "validation": validation}
        right = [a == gold for a, gold in zip(answers, _labels(spec, task.sealed), strict=True)]
        spent = time.process_time() - started
        return found | {"right": [_digits(right)], "bytes": size, "cpu_s": spent}

    def _states(self, records: Sequence[Record]) -> Any:
        return image_vectors(self._backbone, self._task.retraining.spec, records)

    def _strength(self, states: Mapping[int, Any]) -> tuple[float, float]:
        """The regularisation that validates best, and its accuracy."""
        spec = self._task.selection.spec
        train, chooses = self._task.selection.train, self._task.selection.validation
        gold = np.array(_labels(spec, chooses))
        scores = {
            strength: float(
                (
                    _probe(strength)
                    .fit(_of(states, train), _labels(spec, train))
                    .predict(_of(states, chooses))
                    == gold
                ).mean()
            )
            for strength in STRENGTHS
        }
        best = max(scores, key=lambda strength: scores[strength])
        return best, scores[best]

    def _prompt(self, method: MethodSettings, rates: Sequence[float]) -> dict[str, Any]:
        """Every rate in one pass, then every seed in one pass."""
        plan = self._plan

        def sweep(part: str, task: Task, grid: dict[str, tuple[Any, ...]], **more: Any) -> Any:
            config = plan.training(len(task.train), **more)
            made = SweepRunner(
                self._backbone,
                {"": task},
                SweepConfig(grid=grid),
                method,
                config,
                self._room / part,
                lambda event: None,
                command=_COMMAND,
            )
            made.train()
            return made

        selection = sweep("select", self._task.selection, {"lr": tuple(rates)})
        chosen = selection.chosen()[""]
        lr = chosen.settings["training.lr"]
        runs = sweep("train", self._task.retraining, {"seed": plan.seeds}, lr=lr).finish_all()
        tests = [run.prompt.bind(self._backbone).evaluate(self._task.sealed) for run in runs]
        spent = [t.cpu_seconds for t in selection.trials] + [run.cpu_seconds for run in runs]
        return {
            "right": [_digits(test.correct) for test in tests],
            "validation": chosen.accuracy,
            "lr": lr,
            "parameters": runs[0].trained,
            "bytes": runs[0].prompt.nbytes,
            "cpu_s": sum(spent),
        }

    def _auto(self) -> dict[str, Any]:
        """`--method auto` on the examples that select, with as many steps as the others take.

        These examples choose its contestant and its best step: it is not trained on all of them.
        """
        plan, task = self._plan, self._task
        tested = replace(task.selection, test=tuple(task.sealed))
        rows = len(RATES["deep"]) * len(task.selection.train) + len(task.retraining.train)
        steps = plan.epochs * math.ceil(rows / plan.batch_rows)
        told: list[Mapping[str, Any]] = []
        runs = [
            auto(
                self._backbone,
                tested,
                TrainConfig(budget=f"{steps} steps", batch_rows=plan.batch_rows, seed=seed),
                observer=told.append,
            )
            for seed in plan.seeds
        ]
        return {
            "right": [_digits(run.test.correct) for run in runs if run.test is not None],
            "validation": runs[0].validation.accuracy,
            "chosen": [event["contestant"] for event in told if event["event"] == "chosen"],
            "parameters": max(run.trained for run in runs),
            "bytes": max(run.prompt.nbytes for run in runs),
            "cpu_s": sum(run.cpu_seconds for run in runs),
        }

    def _weights(self, trainable: Trainable, rates: Sequence[float]) -> dict[str, Any]:
        """One run after the other: each has weights of its own."""
        chosen: dict[float, tuple[float, float]] = {}
        for lr in rates:

            def validated(trained: Trained) -> tuple[float, float]:
                return trained.state.best_accuracy or 0.0, trained.state.cpu_seconds

            config = self._plan.training(len(self._task.selection.train), lr=lr)
            chosen[lr] = self._alone(trainable, self._task.selection, config, validated)
        best = max(chosen, key=lambda lr: chosen[lr][0])
        runs = []
        for seed in self._plan.seeds:
            config = self._plan.training(len(self._task.retraining.train), lr=best, seed=seed)
            runs.append(
                self._alone(
                    trainable,
                    self._task.retraining,
                    config,
                    lambda trained: self._tested(trainable, trained),
                )
            )
        count = runs[0][1]
        return {
            "right": [right for right, _, _ in runs],
            "validation": chosen[best][0],
            "lr": best,
            "parameters": count,
            "bytes": 4 * count,
            "cpu_s": sum([s for _, s in chosen.values()] + [s for _, _, s in runs]),
        }

    def _tested(self, trainable: Trainable, trained: Trained) -> tuple[str, int, float]:
        """Its answers, how many numbers were trained, and in how many CPU-seconds."""
        method, spec = trained.method, trained.setup.spec
        with trainable.attached(method):
            injection, head = method.injection(), head_of(method)
            test = evaluate(self._backbone, spec, self._task.sealed, injection, head=head)
        count = sum(parameter.numel() for parameter in method.parameters())
        return _digits(test.correct), count, trained.state.cpu_seconds

    def _alone(self, trainable: Trainable, task: Task, config: TrainConfig, finish: Any) -> Any:
        setup = TrainSetup.of(self._backbone, task, trainable, config, fixed_validations=True)
        rows, rate, seed = len(task.train), config.lr, config.seed
        folder = self._room / f"{rows}-{rate}-{seed}"
        return train_alone(setup, finish, _COMMAND, folder, None)


def _layers(backbone: Backbone) -> nn.Module:
    return nn.ModuleList(cast(VisionBackbone, backbone).tower.layers)


LAYERS = TrainableModel(weights="every matrix of the layers", inside=_layers)
"""Full tuning here: what embeds the patches stays, so that what it makes of an image is computed
once."""


def _of(states: Mapping[int, Any], records: Sequence[Record]) -> Any:
    return np.stack([states[id(record)] for record in records])


def _labels(spec: TaskSpec, records: Sequence[Record]) -> list[str]:
    return [spec.label_of(record) for record in records]


def _probe(strength: float) -> Any:
    """As `cuecard train` compares with."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength / 100, max_iter=200))


def _digits(right: Iterable[Any]) -> str:
    return "".join("1" if value else "0" for value in right)
