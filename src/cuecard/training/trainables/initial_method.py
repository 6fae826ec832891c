"""A method's first parameters, for a task on a backbone."""

from __future__ import annotations

from cuecard.lazy import torch
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
