"""A LoRA backbone with a prompt on top: the adapter is trained first, then a prompt on the two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from cuecard.comparison.contest.contender import Contest, Prepared, WithSteps
from cuecard.comparison.contest.contenders.lora import TunedLora, adapter_nbytes, loaded_lora
from cuecard.comparison.contest.contenders.prompts import (
    TunedPrompt,
    losses_text,
    run_facts_of,
)
from cuecard.methods import PromptTuning
from cuecard.training.setup import TrainSetup
from cuecard.training.trainables.lora import merged

_LORA, _PROMPT = TunedLora(), TunedPrompt(PromptTuning.name)


class PromptOnLora(WithSteps):
    """A prompt trained on the backbone with the best adapter of `lora` merged into it.

    The prompt's manifest names the adapter, so that `serve --adapter` takes it and others do not.
    """

    title = "prompt on LoRA"

    def settings(self, contest: Contest) -> Mapping[str, Any]:
        """Those of both."""
        return {**_PROMPT.settings(contest), **_LORA.settings(contest)}

    def setup(self, contest: Contest) -> TrainSetup:
        """The prompt's training, as it is without the adapter, which is yet to be trained."""
        _LORA.setup(contest)
        return _PROMPT.setup(contest)

    def prepare(self, contest: Contest) -> Prepared:
        """Train the adapter, or read the runs of the contender that it is, and then the prompt."""
        folder, backbone = contest.folder, contest.backbone
        own = None if folder is None else folder.with_name("lora")
        below = _LORA.tried(replace(contest, folder=own))
        # Inputs that were kept are those of the layers as they were.
        with backbone.forgetting(), merged(backbone, below.best.adapter):
            tried = _PROMPT.tried(contest)
        run = tried.best
        return Prepared(
            score=run.validation.accuracy,
            parameters=run.trained + below.best.trained,
            nbytes=adapter_nbytes(below.best) + run.prompt.nbytes,
            cpu_seconds=below.cpu_seconds + tried.cpu_seconds,
            seconds=below.seconds + tried.seconds,
            loaded=partial(loaded_lora, backbone, below.best.adapter, run.prompt),
            facts={
                **run_facts_of(run),
                "adapter": below.best.adapter.digest,
                "adapter_folder": below.best.folder,
                "losses": losses_text(tried.losses),
            },
        )
