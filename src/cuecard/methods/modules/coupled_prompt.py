"""Vectors around labels' names in several layers, and linear maps of them into a vision tower."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cuecard.types import LabelTokens, LayerTokens, ParameterGroup, Towers


class CoupledPrompt(nn.Module):
    """Vectors [J, n, H] around names, and for each of the J layers a map from H to a width.

    Args:
        start: where the vectors start.
        width: that of the tower that sees.
        generator: draws the maps.
    """

    def __init__(self, start: Tensor, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.vectors = nn.Parameter(start.clone())
        depth, _, hidden = start.shape

        def drawn(*shape: int) -> nn.Parameter:
            return nn.Parameter(drawn_linear(shape, hidden, generator).to(start.device))

        self.weight = drawn(depth, width, hidden)
        self.bias = drawn(depth, width)

    def injection(self) -> Towers:
        """The vectors for the tower that reads names, and those mapped for the one that sees."""
        seen = self.vectors @ self.weight.transpose(1, 2) + self.bias[:, None]
        return Towers({"labels": LabelTokens(self.vectors[None]), "vision": LayerTokens(seen)})

    def groups(self) -> tuple[ParameterGroup, ...]:
        """One, at the run's rate."""
        return (ParameterGroup((self.vectors, self.weight, self.bias)),)

    def penalty(self) -> None:
        """None."""


def drawn_linear(shape: tuple[int, ...], inputs: int, generator: torch.Generator) -> Tensor:
    """Weights or biases of a layer of so many inputs, as nn.Linear draws both."""
    bound = 1 / math.sqrt(inputs)
    return (2 * torch.rand(shape, generator=generator) - 1) * bound
