"""What a training step costs: floating-point operations, memory, and what devices exchange.

A prompt's training makes no gradients of weights: the forward pass takes 2 FLOPs per weight and
token, and the backward pass, which makes those of activations alone, 2 more. Attention multiplies
two pairs of matrices forward, and four backward; it is counted without a mask, an upper bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cuecard.planning.shape import ModelShape

Trained = Literal["prompt-tuning", "prefix-tuning"]

# A number that is trained: itself, its gradient, and Adam's two moments, in fp32.
_TRAINED_BYTES = 16
_WEIGHT_BYTES = {"none": 2.0, "int8": 1.0, "int4": 0.5}


@dataclass(frozen=True, slots=True)
class StepCost:
    """The FLOPs of a step over some rows, each of as many tokens, the prompt's counted in.

    Attributes:
        matrices: of the layers' matrices, forward.
        attention: of the products of queries, keys and values, forward.
        head: of the LM head, which is run where an answer is read.
    """

    matrices: float
    attention: float
    head: float

    @classmethod
    def of(cls, shape: ModelShape, rows: float, tokens: int, targets: int = 1) -> StepCost:
        """
        Args:
            tokens: of a row.
            targets: of a row, where the LM head is run.
        """
        width = shape.layers * shape.heads * shape.head_size
        return cls(
            2 * shape.active * rows * tokens,
            4 * width * rows * tokens**2,
            2 * shape.hidden * shape.vocab * rows * targets,
        )

    @property
    def forward(self) -> float:
        """Of the forward pass."""
        return self.matrices + self.attention + self.head

    @property
    def backward(self) -> float:
        """Of the backward pass to the inputs, without gradients of weights."""
        return self.matrices + 2 * self.attention + self.head

    def step(self, *, recompute: bool) -> float:
        """Of both; with activation checkpointing the layers run forward twice."""
        again = self.matrices + self.attention if recompute else 0.0
        return self.forward + self.backward + again


def trained_numbers(shape: ModelShape, method: Trained, length: int) -> int:
    """How many numbers a prompt of so many positions has."""
    if method == "prompt-tuning":
        return length * shape.hidden
    return length * shape.layers * 2 * shape.key_heads * shape.head_size


def trained_bytes(numbers: int) -> int:
    """With gradients and the optimiser's state."""
    return numbers * _TRAINED_BYTES


def weight_bytes(shape: ModelShape, quantize: str) -> float:
    """Weights in bf16, and the layers' matrices as they are quantised; scales are left out."""
    rest = shape.parameters - shape.matrices
    return 2 * rest + layer_bytes(shape, quantize)


def layer_bytes(shape: ModelShape, quantize: str) -> float:
    """The layers' matrices in bf16, or as they are quantised."""
    return _WEIGHT_BYTES[quantize] * shape.matrices
