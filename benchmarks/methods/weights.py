"""LoRA and full tuning on the same batches, loss and loop as a prompt: what it is compared with.

Both begin at the prompt written by hand, whose text stands in front of every row and is run once
per batch. LoRA's layers are PEFT's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraModel
from torch import Tensor, nn

from cuecard import PromptTuning, TrainConfig
from cuecard.tasks import Task
from cuecard.training.objective.validation import Validation, validate
from cuecard.training.setup import TrainSetup
from cuecard.training.storage.checkpoint import State
from cuecard.training.storage.log import Observer, RunLog
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.training.trainer import Trainer
from cuecard.types import Backbone, InputTokens, Method, ParameterGroup, Slot

RANK, ALPHA = 8, 16


class Weights:
    """Weights of a model as what `Member` trains: their injection adds nothing to the input."""

    def __init__(self, trained: Sequence[nn.Parameter], width: int) -> None:
        self._trained = nn.ParameterList(trained)
        self._nothing = torch.zeros(0, width)

    def parameters(self) -> Iterator[nn.Parameter]:
        """What is trained."""
        return iter(self._trained)

    def groups(self) -> tuple[ParameterGroup, ...]:
        """One rate."""
        return (ParameterGroup(tuple(self._trained)),)

    def injection(self) -> InputTokens:
        """No vectors."""
        return InputTokens(self._nothing)

    def penalty(self) -> Tensor | None:
        """None."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """The weights."""
        return dict(self._trained.state_dict())

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Put weights in place."""
        return self._trained.load_state_dict(state_dict)


@contextmanager
def lora(backbone: Backbone, seed: int) -> Iterator[tuple[Backbone, Weights]]:
    """LoRA (Hu et al., 2021) on every linear layer but the head, gone from the model afterwards."""
    config = LoraConfig(
        r=RANK, lora_alpha=ALPHA, target_modules=_linear_layers(backbone.model), bias="none"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted: Any = LoraModel(backbone.model, config, "default")
    # A backbone of its own: what one has found out of its modules does not hold with these.
    own = _again(backbone)
    trained = [p for name, p in backbone.model.named_parameters() if "lora_" in name]
    for parameter in trained:
        parameter.requires_grad_(True)
    try:
        yield own, Weights(trained, backbone.hidden_size)
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
def full(backbone: Backbone) -> Iterator[tuple[Backbone, Weights]]:
    """Every matrix of the model, as it was again afterwards.

    Masters in float32, which the model sees rounded to its own precision: steps of 5e-5 would be
    lost between two bfloat16 numbers. The norms' gains, one weight in a few thousand, stay.
    """
    masters = Masters(backbone)
    try:
        yield _again(backbone), masters
    finally:
        masters.restore()


class Masters(Weights):
    """float32 copies of a model's matrices, which it runs on.

    Args:
        inside: the part of the model whose matrices they are; all of it by default.
    """

    def __init__(self, backbone: Backbone, inside: nn.Module | None = None) -> None:
        places: dict[int, list[tuple[nn.Module, str]]] = {}
        originals: dict[int, nn.Parameter] = {}
        for module in (inside or backbone.model).modules():
            for name, parameter in module._parameters.items():
                if parameter is not None and parameter.ndim > 1:
                    places.setdefault(id(parameter), []).append((module, name))  # tied ones: two
                    originals[id(parameter)] = parameter
        self._places, self._originals = list(places.values()), list(originals.values())
        copies = [nn.Parameter(p.detach().float().clone()) for p in self._originals]
        super().__init__(copies, backbone.hidden_size)

    def injection(self) -> InputTokens:
        """No vectors; the model now runs on these weights, with gradients to them."""
        for places, original, master in zip(
            self._places, self._originals, self.parameters(), strict=True
        ):
            _put(places, master.to(original.dtype))
        return super().injection()

    def restore(self) -> None:
        """Give the model its own weights back."""
        for places, original in zip(self._places, self._originals, strict=True):
            _put(places, original)


def _put(places: Sequence[tuple[nn.Module, str]], weight: Tensor) -> None:
    # As torch.func.functional_call does: a tensor with a history cannot be set as a parameter.
    for module, name in places:
        module._parameters[name] = weight  # type: ignore[assignment]


def _again(backbone: Backbone) -> Backbone:
    made: Any = type(backbone)
    again: Backbone = made(backbone.model, backbone.tokenizer, backbone.name)
    return again


def _linear_layers(model: Any) -> list[str]:
    head = model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    ]
