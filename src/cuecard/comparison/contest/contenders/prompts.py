"""Prompts of vectors: trained by any method for one task, and as their init leaves them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from cuecard.artifacts import Prompt
from cuecard.artifacts.tensors import tensors_of
from cuecard.comparison.contest.contender import Contest, Loaded, Prepared, WithoutSteps, WithSteps
from cuecard.comparison.contest.rates import Tried, best_rate, setup_of
from cuecard.lazy import torch
from cuecard.methods import MethodSettings, method_settings
from cuecard.training.run import FinishedRun, Run
from cuecard.training.setup import TrainSetup
from cuecard.training.train import train_prompt
from cuecard.training.trainables.head import head_of
from cuecard.training.trainables.initial_method import suited_to
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.types import Backbone


class TunedPrompt(WithSteps):
    """A prompt trained by a method.

    Args:
        method: its name.
    """

    def __init__(self, method: str) -> None:
        self.title = self._method = method

    def settings(self, contest: Contest) -> Mapping[str, Any]:
        """The method's."""
        return TrainablePrompt(self._settings(contest)).parts

    def setup(self, contest: Contest) -> TrainSetup:
        """Its training."""
        return setup_of(contest, TrainablePrompt(self._settings(contest)))

    def prepare(self, contest: Contest) -> Prepared:
        """Train at each rate, and keep the best by validation loss."""
        tried = self.tried(contest)
        run = tried.best
        return Prepared(
            score=run.validation.accuracy,
            parameters=run.trained,
            nbytes=run.prompt.nbytes,
            cpu_seconds=tried.cpu_seconds,
            seconds=tried.seconds,
            loaded=partial(loaded_prompt, contest.backbone, run.prompt),
            mixes=True,
            facts={**run_facts_of(run), "losses": losses_text(tried.losses)},
        )

    def tried(self, contest: Contest) -> Tried[Run]:
        """Its runs; those that are finished in the contender's folder are read."""
        method = self._settings(contest)

        def at(setup: TrainSetup, folder: Path | None) -> Run:
            return train_prompt(setup, method, folder=folder, observer=contest.tell)

        return best_rate(contest, self.setup(contest), at)

    def _settings(self, contest: Contest) -> MethodSettings:
        given = contest.prompt
        found = given if given.name == self._method else method_settings(self._method, {})
        return suited_to(contest.backbone, found)


class UntrainedPrompt(WithoutSteps):
    """Prompt tuning's vectors before their first step, calibrated as trained ones are."""

    title = "start, untrained"

    def settings(self, contest: Contest) -> Mapping[str, Any]:
        """Those of prompt tuning."""
        return trainable_start(contest).parts

    def prepare(self, contest: Contest) -> Prepared:
        """What the init alone gives."""
        cpu, began = time.process_time(), time.perf_counter()
        setup = setup_of(contest, trainable_start(contest))
        with torch.no_grad():
            seen = setup.validate(setup.start, brief=False)
            injection, head = setup.start.injection(), head_of(setup.start)
        prior = seen.prior if contest.config.calibrate else None
        spec, slot = contest.task.spec, setup.slot
        loaded = Loaded(contest.backbone, spec, injection, slot, prior=prior, head=head)

        @contextmanager
        def load() -> Iterator[Loaded]:
            yield loaded

        return Prepared(
            score=seen.accuracy,
            parameters=0,
            nbytes=sum(tensor.nbytes for tensor in tensors_of(injection, head).values()),
            cpu_seconds=time.process_time() - cpu,
            seconds=time.perf_counter() - began,
            loaded=load,
            mixes=True,
            facts={"validation_loss": seen.loss},
        )


def trainable_start(contest: Contest) -> TrainablePrompt:
    """What prompt tuning trains."""
    return TrainablePrompt(suited_to(contest.backbone, contest.prompt))


@contextmanager
def loaded_prompt(backbone: Backbone, prompt: Prompt) -> Iterator[Loaded]:
    """The backbone with a prompt."""
    manifest = prompt.manifest
    yield Loaded(
        backbone,
        prompt.spec,
        prompt.injection(),
        manifest.slot,
        prior=manifest.prior,
        head=prompt.head(),
    )


def run_facts_of(run: FinishedRun) -> dict[str, Any]:
    """What a report says of a trained run."""
    return {
        "lr": run.lr,
        "steps": run.steps,
        "best_step": run.best_step,
        "validation_loss": run.validation.loss,
        "cpu_seconds_of_one_run": run.cpu_seconds,
        "tokens_of_one_run": run.tokens,
        "digest": run.prompt.digest,
        "alarm": run.alarm,
        "folder": run.folder,
    }


def losses_text(losses: Mapping[float, float | None]) -> dict[str, float | None]:
    """Validation losses by rate, as JSON has them."""
    return {f"{rate:g}": loss for rate, loss in losses.items()}
