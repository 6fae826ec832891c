"""Vectors around labels' names, and a network that moves them for each image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cuecard.methods.modules.coupled_prompt import drawn_linear
from cuecard.types import ImageShift, LabelTokens, ParameterGroup, Towers


class ConditionalPrompt(nn.Module):
    """Vectors [n, H] around names, and a meta-net from an image's vector [D] to what moves them.

    Args:
        start: where the vectors start.
        names: the labels'.
        width: D.
        middle: the width of the meta-net's hidden layer.
        generator: draws the meta-net.
    """

    def __init__(
        self,
        start: Tensor,
        names: tuple[str, ...],
        *,
        width: int,
        middle: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self._names, hidden = names, start.shape[1]
        self.vectors = nn.Parameter(start.clone())

        def drawn(*shape: int, inputs: int) -> nn.Parameter:
            return nn.Parameter(drawn_linear(shape, inputs, generator).to(start.device))

        self.down, self.down_bias = drawn(middle, width, inputs=width), drawn(middle, inputs=width)
        self.up, self.up_bias = drawn(hidden, middle, inputs=middle), drawn(hidden, inputs=middle)

    def injection(self) -> Towers:
        """The vectors and what moves them, for the tower that reads labels' names."""
        shift = ImageShift(self.down, self.down_bias, self.up, self.up_bias, self._names)
        return Towers({"labels": LabelTokens(self.vectors[None, None], shift=shift)})

    def groups(self) -> tuple[ParameterGroup, ...]:
        """One, at the run's rate."""
        return (ParameterGroup(tuple(self.parameters())),)

    def penalty(self) -> None:
        """None."""
