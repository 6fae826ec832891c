"""LoRA under a prompt: the prompt is trained first and stays, the adapter is trained beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from cuecard.comparison.contest.contender import Contest, Prepared, WithSteps
from cuecard.comparison.contest.contenders.lora import (
    TunedLora,
    best_lora,
    loaded_lora,
    nbytes_of,
)
from cuecard.comparison.contest.contenders.prompts import TunedPrompt, losses_text, run_facts_of
from cuecard.comparison.contest.rates import setup_of
from cuecard.methods import PromptTuning
from cuecard.training.setup import TrainSetup
from cuecard.training.train_lora import TrainableAdapter

_LORA, _PROMPT = TunedLora(), TunedPrompt(PromptTuning.name)


class LoraWithPrompt(WithSteps):
    """An adapter trained with the best prompt of prompt tuning in front of every input."""

    title = "LoRA + prompt"

    def settings(self, contest: Contest) -> Mapping[str, Any]:
        """Those of both."""
        return {**_PROMPT.settings(contest), **_LORA.settings(contest)}

    def setup(self, contest: Contest) -> TrainSetup:
        """The adapter's training, as it is without the prompt, which is yet to be trained."""
        return _LORA.setup(contest)

    def prepare(self, contest: Contest) -> Prepared:
        """Train the prompt, or read the runs of the contender that it is, and then the adapter."""
        folder = contest.folder
        own = None if folder is None else folder.with_name(PromptTuning.name)
        before = _PROMPT.tried(replace(contest, folder=own))
        adapter = TrainableAdapter(contest.lora, before.best.prompt)
        tried = best_lora(contest, setup_of(contest, adapter), adapter)
        run = tried.best
        return Prepared(
            score=run.validation.accuracy,
            parameters=run.trained + before.best.trained,
            nbytes=nbytes_of(run),
            cpu_seconds=before.cpu_seconds + tried.cpu_seconds,
            seconds=before.seconds + tried.seconds,
            loaded=partial(loaded_lora, contest.backbone, run.adapter, run.prompt),
            facts={
                **run_facts_of(run),
                "adapter": run.adapter.digest,
                "prompt": before.best.prompt.digest,
                "losses": losses_text(tried.losses),
            },
        )
