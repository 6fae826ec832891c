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

from cuecard.comparison.contest.contender import Contest, Loaded, Prepared
from cuecard.comparison.contest.contenders.prompts import (
    loaded_prompt,
    losses_text,
    run_facts_of,
)
from cuecard.comparison.contest.rates import best_rate, setup_of
from cuecard.training.setup import TrainSetup
from cuecard.training.train_lora import LoraRun, TrainableAdapter, train_adapter
from cuecard.training.trainables.lora import merged
from cuecard.types import Backbone


class TunedLora:
    """A LoRA adapter, merged into the backbone while it answers."""

    title = "LoRA"
    untrained = False
    trains = True

    def settings(self, contest: Contest) -> Mapping[str, Any]:
        """The adapter's."""
        return {"lora": contest.lora.model_dump(mode="json")}

    def setup(self, contest: Contest) -> TrainSetup:
        """Its training."""
        return setup_of(contest, TrainableAdapter(contest.lora))

    def prepare(self, contest: Contest) -> Prepared:
        """Train at each rate, and keep the best by validation loss."""
        adapter = TrainableAdapter(contest.lora)

        def at(setup: TrainSetup, folder: Path | None) -> LoraRun:
            return train_adapter(setup, adapter, folder=folder, observer=contest.tell)

        tried = best_rate(contest, self.setup(contest), at)
        run = tried.best
        return Prepared(
            score=run.validation.accuracy,
            parameters=run.trained,
            nbytes=sum(each.nbytes for each in run.adapter.updates.values()) + run.prompt.nbytes,
            cpu_seconds=tried.cpu_seconds,
            seconds=tried.seconds,
            loaded=partial(_loaded, contest.backbone, run),
            facts={
                **run_facts_of(run),
                "adapter": run.adapter.digest,
                "losses": losses_text(tried.losses),
            },
        )


@contextmanager
def _loaded(backbone: Backbone, run: LoraRun) -> Iterator[Loaded]:
    # Inputs that were kept are those of the layers as they were.
    with (
        backbone.forgetting(),
        merged(backbone, run.adapter),
        loaded_prompt(backbone, run.prompt) as loaded,
    ):
        yield loaded
