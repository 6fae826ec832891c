"""The prompt and the low-rank update that DePT trains. See `methods/dept.py`."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cuecard.methods.dept import DePT
from cuecard.types import InputTokens, ParameterGroup


class DecomposedPrompt(nn.Module):
    """Vectors [P, H] and the factors A [S, r] and B [r, H] of the shifts."""

    def __init__(self, settings: DePT, vectors: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        self._lr, self._scale = settings.update_lr, settings.alpha / math.sqrt(settings.rank)
        self.vectors = nn.Parameter(vectors.float())
        bound = 1 / math.sqrt(settings.rank)  # kaiming_uniform_ with a = sqrt(5), as published
        drawn = torch.rand(settings.tokens, settings.rank, generator=generator) * 2 * bound - bound
        self.a = nn.Parameter(drawn.to(vectors.device))
        self.b = nn.Parameter(vectors.new_zeros(settings.rank, vectors.shape[1]).float())

    def groups(self) -> tuple[ParameterGroup, ...]:
        """The vectors at the run's rate, the factors at their own."""
        return ParameterGroup((self.vectors,)), ParameterGroup((self.a, self.b), self._lr)

    def injection(self) -> InputTokens:
        """The vectors, and the factors' product [S, H]."""
        return InputTokens(self.vectors, self._scale * (self.a @ self.b))

    def penalty(self) -> Tensor | None:
        """None."""
        return None
