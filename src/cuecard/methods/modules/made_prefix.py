"""The free vectors and the network that prefix tuning trains. See `methods/prefix_tuning.py`."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cuecard.methods.fitting import fitted
from cuecard.methods.prefix_tuning import PrefixTuning
from cuecard.types import ParameterGroup, PrefixKV


class MadePrefix(nn.Module):
    """Free vectors [P, E] and the two layers that make keys and values [L, 2, K, P, D] of them."""

    def __init__(
        self, settings: PrefixTuning, start: Tensor, width: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self._layers, self._heads = start.shape[0], start.shape[2]
        self._late = settings.late
        goal = PrefixKV(start).matrix
        bound = 1 / math.sqrt(width)  # nn.Linear's own
        self.free = nn.Parameter(torch.randn(len(goal), width, generator=generator))
        drawn = torch.rand(settings.hidden, width + 1, generator=generator) * 2 * bound - bound
        self.inner, self.inner_bias = nn.Parameter(drawn[:, :-1]), nn.Parameter(drawn[:, -1])
        with torch.no_grad():
            weight, bias = fitted(self._features(), goal.cpu())
        self.last, self.last_bias = nn.Parameter(weight), nn.Parameter(bias)
        self.to(start.device)

    def groups(self) -> tuple[ParameterGroup, ...]:
        """The free vectors at the optimiser's default rate, the network at the run's rate."""
        weights = tuple(p for p in self.parameters() if p is not self.free)
        return ParameterGroup((self.free,), "embeddings"), ParameterGroup(weights)

    def injection(self) -> PrefixKV:
        """The network's output."""
        made = nn.functional.linear(self._features(), self.last, self.last_bias)
        return PrefixKV.of_matrix(made, self._layers, self._heads, late=self._late)

    def penalty(self) -> Tensor | None:
        """None."""
        return None

    def _features(self) -> Tensor:
        """[P, hidden] what the last layer sees."""
        return torch.tanh(nn.functional.linear(self.free, self.inner, self.inner_bias))
