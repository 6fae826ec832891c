"""What a method may know at its start, without a backbone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cuecard.types import InitContext, States

TABLE = torch.randn(300, 8, generator=torch.Generator().manual_seed(0)) * 0.05


def states(vectors: Tensor) -> States:
    """A model of three layers that add one, and keep two heads of keys and negated values."""
    hidden = torch.stack([vectors + layer for layer in range(3)])
    keys = hidden.view(3, len(vectors), 2, -1).transpose(1, 2)
    return States(hidden, torch.stack([keys, -keys], 1))


def context(
    seed: int = 0, labels: tuple[tuple[int, ...], ...] = ((5, 6), (7,)), text: str = "abc"
) -> InitContext:
    """A table of 300 words of width 8; a character is a token."""
    encode: Callable[[str], list[int]] = lambda words: [ord(c) for c in words]  # noqa: E731
    generator = torch.Generator().manual_seed(seed)
    return InitContext(TABLE, encode, frozenset({0, 1, 2}), labels, text, generator, states, 3)
