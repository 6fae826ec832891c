"""A method's first parameters, for a task on a backbone."""

from __future__ import annotations

from typing import TypeVar

from cuecard.lazy import torch
from cuecard.methods.start import StartSettings
from cuecard.tasks import TaskSpec
from cuecard.training.config import TrainConfig
from cuecard.training.trainables.head import Headed
from cuecard.types import (
    Backbone,
    InitContext,
    Method,
    MethodConfig,
)


def new_method(
    backbone: Backbone,
    spec: TaskSpec,
    method: MethodConfig,
    seed: int,
    head_lr: float = TrainConfig().head_lr,
) -> Method:
    """A method's first parameters for a task on a backbone: the same for the same seed.

    Args:
        head_lr: the peak learning rate of the task's head, if it has one.

    Raises:
        ConfigError: an init that this backbone or task cannot give.
    """
    made = method.build(init_context(backbone, spec, seed))
    return (
        Headed(made, spec.outputs, backbone.hidden_size, head_lr) if spec.mode == "head" else made
    )


M = TypeVar("M")


def suited_to(backbone: Backbone, method: M) -> M:
    """The settings as the backbone can start from them: without words, not from the task's text."""
    by_default = getattr(method, "init", None) == "text" and getattr(method, "text", None) is None
    if "text" in backbone.takes or not by_default or not isinstance(method, StartSettings):
        return method
    if method.reads_words:  # it is refused, see `check_supported`
        return method
    return method.model_copy(update={"init": "xavier"})


def init_context(backbone: Backbone, spec: TaskSpec, seed: int) -> InitContext:
    """What a method may know of a task and a backbone when it makes its first parameters."""
    tokenizer = backbone.tokenizer

    def encode(text: str) -> list[int]:
        return [
            int(i) for i in tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        ]

    return InitContext(
        embeddings=backbone.embeddings,
        encode=encode,
        special_ids=frozenset(int(i) for i in getattr(tokenizer, "all_special_ids", ())),
        labels=spec.continuations(tokenizer) if spec.mode == "labels" else (),
        text=spec.task_kind.instruction(spec),
        generator=torch.Generator().manual_seed(seed),
        states=backbone.states,
        towers=backbone.tower_embeddings,
    )
