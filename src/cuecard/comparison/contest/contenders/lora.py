"""LoRA by the rules of "LoRA Without Regret": all linear layers, a rate of its own.

Schulman et al. (Thinking Machines, 2025): an adapter on every linear layer, those of the MLP too,
learns as full tuning does where its rate is about ten times full tuning's and batches are small.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from cuecard.artifacts import Prompt
from cuecard.backbones.adapters.adapter import Adapter
from cuecard.comparison.contest.contender import Contest, Loaded, Prepared, WithSteps
from cuecard.comparison.contest.contenders.prompts import (
    loaded_prompt,
    losses_text,
    run_facts_of,
)
from cuecard.comparison.contest.rates import Tried, best_rate, setup_of
from cuecard.training.setup import TrainSetup
from cuecard.training.train_lora import LoraRun, TrainableAdapter, train_adapter
from cuecard.training.trainables.lora import merged
from cuecard.types import Backbone


class TunedLora(WithSteps):
    """A LoRA adapter, merged into the backbone while it answers."""

    title = "LoRA"

    def settings(self, contest: Contest) -> Mapping[str, Any]:
        """The adapter's."""
        return {"lora": contest.lora.model_dump(mode="json")}

    def setup(self, contest: Contest) -> TrainSetup:
        """Its training."""
        return setup_of(contest, TrainableAdapter(contest.lora))

    def prepare(self, contest: Contest) -> Prepared:
        """Train at each rate, and keep the best by validation loss."""
        tried = self.tried(contest)
        run = tried.best
        return Prepared(
            score=run.validation.accuracy,
            parameters=run.trained,
            nbytes=nbytes_of(run),
            cpu_seconds=tried.cpu_seconds,
            seconds=tried.seconds,
            loaded=partial(loaded_lora, contest.backbone, run.adapter, run.prompt),
            facts={
                **run_facts_of(run),
                "adapter": run.adapter.digest,
                "losses": losses_text(tried.losses),
            },
        )

    def tried(self, contest: Contest) -> Tried[LoraRun]:
        """Its runs; those that are finished in the contender's folder are read."""
        return best_lora(contest, self.setup(contest), TrainableAdapter(contest.lora))


def best_lora(contest: Contest, setup: TrainSetup, adapter: TrainableAdapter) -> Tried[LoraRun]:
    """Adapters at each rate; those that are finished in the contender's folder are read."""

    def at(made: TrainSetup, folder: Path | None) -> LoraRun:
        return train_adapter(made, adapter, folder=folder, observer=contest.tell)

    return best_rate(contest, setup, at)


def nbytes_of(run: LoraRun) -> int:
    """The adapter, and the prompt in front of it or the task's head."""
    return adapter_nbytes(run) + run.prompt.nbytes


def adapter_nbytes(run: LoraRun) -> int:
    """The adapter alone."""
    return sum(each.nbytes for each in run.adapter.updates.values())


@contextmanager
def loaded_lora(backbone: Backbone, adapter: Adapter, prompt: Prompt) -> Iterator[Loaded]:
    """The backbone with an adapter merged, and the prompt that is with it."""
    # Inputs that were kept are those of the layers as they were.
    with (
        backbone.forgetting(),
        merged(backbone, adapter),
        loaded_prompt(backbone, prompt) as loaded,
    ):
        yield loaded
