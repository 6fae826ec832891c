"""LoRA and full tuning on the same batches, loss and loop as a prompt: what it is compared with.

Both begin at the prompt written by hand, whose text stands in front of every row and is run once
per batch. LoRA's layers are PEFT's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraModel
from torch import nn

from cuecard import PromptTuning, TrainConfig
from cuecard.tasks import Task
from cuecard.training.objective.validation import Validation, validate
from cuecard.training.setup import TrainSetup
from cuecard.training.storage.checkpoint import State
from cuecard.training.storage.log import Observer, RunLog
from cuecard.training.trainables.full_weights import Masters, again
from cuecard.training.trainables.model_weights import ModelWeights
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.training.trainer import Trainer
from cuecard.types import Backbone, Method, Slot

RANK, ALPHA = 8, 16


@contextmanager
def lora(backbone: Backbone, seed: int) -> Iterator[tuple[Backbone, ModelWeights]]:
    """LoRA (Hu et al., 2021) on every linear layer but the head, gone from the model afterwards."""
    config = LoraConfig(
        r=RANK, lora_alpha=ALPHA, target_modules=_linear_layers(backbone.model), bias="none"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted: Any = LoraModel(backbone.model, config, "default")
    # A backbone of its own: what one has found out of its modules does not hold with these.
    own = again(backbone)
    trained = [p for name, p in backbone.model.named_parameters() if "lora_" in name]
    for parameter in trained:
        parameter.requires_grad_(True)
    try:
        yield own, ModelWeights(nn.ParameterList(trained), backbone.hidden_size)
    finally:
        adapted.unload()


def trainer_of(
    backbone: Backbone,
    task: Task,
    made: Method,
    config: TrainConfig,
    lr: float,
    state: State,
    tell: Observer,
    slot: Slot = "prefix",
) -> Trainer:
    """A trainer of weights or of a prompt that is made already, validated as often as is said."""
    prompt = TrainablePrompt(PromptTuning(slot=slot))
    setup = TrainSetup.of(backbone, task, prompt, config, fixed_validations=True)

    def score() -> Validation:
        return validate(backbone, task.spec, task.validation, made.injection(), slot)

    return Trainer(setup, made, lr, state, RunLog(None, tell), score=score)


@contextmanager
def full(backbone: Backbone) -> Iterator[tuple[Backbone, ModelWeights]]:
    """Every matrix of the model, as it was again afterwards."""
    masters = Masters(backbone)
    with masters.attached():
        yield again(backbone), masters


def _linear_layers(model: Any) -> list[str]:
    head = model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    ]
