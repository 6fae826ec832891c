"""A start of prompts that is learnt from many tasks, so that few rows of another one go far.

Reptile: after k steps on each of some tasks the start moves towards the mean of where they ended,
theta += e (mean_i phi_i - theta), with e falling to 0 and Adam without momentum inside (Nichol,
Achiam and Schulman, "On First-Order Meta-Learning Algorithms", 2018, arXiv:1803.02999, sections 3
and 6). First-order MAML: it follows the gradient of further rows at the phi_i instead (Finn, Abbeel
and Levine, ICML 2017, arXiv:1703.03400, section 5.2). For soft prompts: Hou et al.,
"MetaPrompting" (COLING 2022). All tasks of a round make each step in one pass of the backbone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cuecard.artifacts.meta_init import MetaInit
from cuecard.errors import ConfigError, Interrupted, TrainingError
from cuecard.folder_lock import held
from cuecard.interrupts import Stop, stoppable
from cuecard.lazy import torch
from cuecard.methods import PromptTuning
from cuecard.tasks import Task
from cuecard.training.batches import BatchSampler
from cuecard.training.checks import FrozenProof, check_words
from cuecard.training.config import TrainConfig
from cuecard.training.loop import stopped_in
from cuecard.training.objective.loss import PromptBatch, batch_losses, count_targets
from cuecard.training.setup import TrainSetup, key_of, parts_of_runs
from cuecard.training.storage.checkpoint import Checkpoint, State
from cuecard.training.storage.log import Observer, RunLog
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.types import Backbone, InputTokens

if TYPE_CHECKING:
    from torch import Tensor

COMMAND = "cuecard meta-init"
FILE = "init.safetensors"
"""The learnt start, in the run's folder."""

_EVERY = 10  # rounds between checkpoints
_REPTILE, _SHARE = 1.0, 0.1  # outer rates: Reptile's, and FOMAML's as a share of the inner one


class MetaConfig(BaseModel):
    """How a start is learnt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    algorithm: Literal["reptile", "fomaml"] = Field(
        default="reptile", description="Move towards where tasks end, or along their gradients."
    )
    length: int = Field(default=20, ge=1, le=1000, description="Prompt vectors.")
    init: Literal["vocabulary", "random"] = Field(
        default="vocabulary", description="Where the start itself starts."
    )
    rounds: int = Field(default=500, ge=1, description="Outer steps.")
    tasks_per_round: int = Field(default=8, ge=1, description="Tasks that a round draws.")
    inner_steps: int = Field(default=8, ge=1, description="Steps on each task of a round.")
    batch_rows: int = Field(default=8, ge=1, description="Rows per task and step.")
    inner_lr: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Learning rate on a task; by default that of prompt tuning.",
    )
    outer_lr: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="reptile: the share of the way to the tasks' ends, 1 by default, which falls "
        "to 0. fomaml: Adam's rate, by default a tenth of inner_lr.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of the start and of what rounds draw.")


class MetaTraining:
    """Learn a start from tasks; everything that can be refused is refused here.

    Args:
        tasks: by name, two or more that are answered in words.
        folder: where the log, the checkpoint and the start go; None keeps nothing. The same
            training in the folder is resumed.
        observer: called with every event: "meta", and "round" with the mean loss before and after
            the inner steps.

    Raises:
        ConfigError: fewer than two tasks, or one that is not answered in words.
        CuecardError: see `TrainSetup.of`.
    """

    def __init__(
        self,
        backbone: Backbone,
        tasks: Mapping[str, Task],
        config: MetaConfig | None = None,
        *,
        folder: str | Path | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._config = config = config or MetaConfig()
        _check(tasks)
        self._backbone, self._observer = backbone, observer
        self._folder = None if folder is None else Path(folder)
        self._names = sorted(tasks)
        trained = TrainConfig(batch_rows=config.batch_rows, seed=config.seed)
        prompt = TrainablePrompt(PromptTuning(init=config.init, length=config.length))
        self._setups = {
            name: TrainSetup.of(backbone, tasks[name], prompt, trained, name=name)
            for name in self._names
        }
        self._lr = config.inner_lr or self._setups[self._names[0]].peak_lr
        parts = parts_of_runs({name: setup.parts for name, setup in self._setups.items()})
        self._parts = {**parts, "settings": key_of(config.model_dump(mode="json"))}

    def fits(self, folder: Path) -> None:
        """
        Raises:
            TrainingError: the folder holds the checkpoint of something else.
        """
        Checkpoint.load(folder, key_of(self._parts), self._parts)

    def run(self) -> MetaInit:
        """Make the rounds that are left, and write the start.

        Raises:
            TrainingError: it diverged, or the folder belongs to something else.
            FrozenError: the backbone changed.
            Interrupted: Ctrl-C; the checkpoint is saved.
        """
        with held(self._folder):
            kept = Checkpoint.open(
                self._folder, key_of(self._parts), 1 + len(self._names), self._parts
            )
            first = self._setups[self._names[0]]
            frozen = FrozenProof(self._backbone, first.rows[0], first.spec)
            start = self._rounds(kept)
            frozen.check()
            config = self._config
            settings = config.model_dump(mode="json") | {"inner_lr": self._lr}
            found = MetaInit.create(start, self._backbone, self._names, settings, config.rounds)
            if self._folder is not None:
                found.save(self._folder / FILE)
            return found

    def _rounds(self, kept: Checkpoint) -> Tensor:
        """From the checkpoint to the last round; the start [P, H]."""
        own, config = kept.runs[0], self._config
        log = RunLog(self._folder, self._observer, keep_bytes=own.log_bytes)
        samplers = {
            name: BatchSampler(self._setups[name].rows, self._setups[name].config, state)
            for name, state in zip(self._names, kept.runs[1:], strict=True)
        }
        outer = _Outer(config, self._first(own), self._lr, own)
        log.tell("meta", tasks=len(self._names), rounds=config.rounds, done=own.step)

        def save() -> None:
            own.method, own.log_bytes = {"vectors": outer.start.detach().clone()}, log.size()
            own.optimizer = outer.state()
            for state, sampler in zip(kept.runs[1:], samplers.values(), strict=True):
                state.epoch, state.position = sampler.epoch, sampler.position
            if self._folder is not None:
                kept.save(self._folder)

        with stoppable(lambda: self._stopped(own.step)) as interrupts:
            while own.step < config.rounds:
                with own.charged(self._backbone.counts):
                    seen = self._round(own.step, outer, samplers)
                own.step += 1
                log.write("round", round=own.step, **seen)
                last = own.step == config.rounds
                if interrupts.asked or last or own.step % _EVERY == 0:
                    save()
                if interrupts.asked and not last:
                    raise Stop
        return outer.start.detach()

    def _first(self, own: State) -> Tensor:
        """The start as the checkpoint has it, or before the first round."""
        if own.method:
            kept: Tensor = own.method["vectors"].to(self._backbone.embeddings.device)
            return kept
        injection = self._setups[self._names[0]].new_method().injection()
        assert isinstance(injection, InputTokens)
        return injection.vectors.detach().clone()

    def _round(
        self, number: int, outer: _Outer, samplers: Mapping[str, BatchSampler]
    ) -> dict[str, Any]:
        """Some tasks' inner steps, and the outer one.

        Returns:
            The tasks, and their mean loss before the inner steps and at the last one.

        Raises:
            TrainingError: a loss that is not finite.
        """
        config = self._config
        drawn = random.Random(f"{config.seed}:{number}")
        names = sorted(drawn.sample(self._names, min(config.tasks_per_round, len(self._names))))
        ends = [outer.start.detach().clone().requires_grad_() for _ in names]
        inner = torch.optim.Adam(ends, lr=self._lr, betas=(0.0, 0.999))
        means = []
        for _ in range(config.inner_steps):
            inner.zero_grad(set_to_none=True)
            losses = self._losses(names, ends, samplers)
            losses.sum().backward()  # type: ignore[no-untyped-call]
            means.append(float(losses.detach().mean()))
            if not math.isfinite(means[-1]):
                raise TrainingError(
                    "the training diverged",
                    where=f"round {number + 1}",
                    got=f"loss {means[-1]}",
                    expected="a finite loss",
                    hint="lower inner_lr",
                )
            inner.step()
        if config.algorithm == "fomaml":
            losses = self._losses(names, ends, samplers)
            outer.follow(torch.autograd.grad(losses.sum(), ends))
        else:
            outer.approach([end.detach() for end in ends], number)
        return {"tasks": names, "before": means[0], "after": means[-1]}

    def _losses(
        self, names: Sequence[str], ends: Sequence[Tensor], samplers: Mapping[str, BatchSampler]
    ) -> Tensor:
        """[tasks] each task's mean loss on its next rows, all in one pass."""
        parts, counts = [], []
        for name, vectors in zip(names, ends, strict=True):
            setup, rows = self._setups[name], samplers[name].take()
            parts.append(PromptBatch(setup.spec, rows, InputTokens(vectors), setup.loss))
            counts.append(count_targets(setup.loss, setup.spec, rows))
        losses = batch_losses(self._backbone, parts)
        return torch.stack([loss / count for loss, count in zip(losses, counts, strict=True)])

    def _stopped(self, done: int) -> Interrupted:
        what = f"stopped after {done:,} of {self._config.rounds:,} rounds"
        return stopped_in(what, self._folder, COMMAND)


class _Outer:
    """The start, and how a round moves it.

    Args:
        lr: the inner rate.
        state: holds FOMAML's optimiser.
    """

    def __init__(self, config: MetaConfig, start: Tensor, lr: float, state: State) -> None:
        self._config = config
        self.start = start.clone().requires_grad_()
        self._adam: torch.optim.Adam | None = None
        if config.algorithm == "fomaml":
            self._adam = torch.optim.Adam([self.start], lr=config.outer_lr or _SHARE * lr)
            if state.optimizer:
                self._adam.load_state_dict(state.optimizer)

    def approach(self, ends: Sequence[Tensor], number: int) -> None:
        """Move towards the mean of the ends, less with every round."""
        share = (self._config.outer_lr or _REPTILE) * (1 - number / self._config.rounds)
        with torch.no_grad():
            self.start += share * (torch.stack([*ends]).mean(0) - self.start)

    def follow(self, gradients: Sequence[Tensor]) -> None:
        """A step of Adam along the mean gradient."""
        assert self._adam is not None
        self.start.grad = torch.stack([*gradients]).mean(0)
        self._adam.step()

    def state(self) -> dict[str, Any]:
        """What resuming needs beside the start."""
        return {} if self._adam is None else dict(self._adam.state_dict())


def _check(tasks: Mapping[str, Task]) -> None:
    """
    Raises:
        ConfigError: fewer than two tasks, or one that is not answered in words.
    """
    if len(tasks) < 2:
        raise ConfigError(
            "a start is learnt from several tasks",
            where="tasks",
            got=len(tasks),
            expected="two or more",
        )
    for name, task in tasks.items():
        check_words(task.spec, f"tasks, {name}", "the task is not answered in words")
