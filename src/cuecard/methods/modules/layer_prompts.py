"""The vectors of every layer that deep prompts train. See `methods/deep_prompts.py`."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from cuecard.types import LayerTokens, ParameterGroup


class LayerPrompts(nn.Module):
    """The first layer's vectors [P, H] and the others' [L - 1, P, H] in float32.

    Args:
        one_rate: whether the first layer's learn at the others' rate.
    """

    def __init__(self, first: Tensor, others: Tensor, *, one_rate: bool = False) -> None:
        super().__init__()
        self._first_lr: Literal["embeddings"] | None = None if one_rate else "embeddings"
        self.first = nn.Parameter(first.float())
        self.others = nn.Parameter(others.to(first.device).float().contiguous())

    def groups(self) -> tuple[ParameterGroup, ...]:
        """The first layer's vectors at the optimiser's default rate, the others at the run's."""
        return ParameterGroup((self.first,), self._first_lr), ParameterGroup((self.others,))

    def injection(self) -> LayerTokens:
        """Every layer's vectors [L, P, H]."""
        return LayerTokens(torch.cat([self.first[None], self.others]))

    def penalty(self) -> Tensor | None:
        """None."""
        return None
