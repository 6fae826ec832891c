"""Prefix tuning: keys and values in front of the input, which a network makes of free vectors.

Formula: [P_k; P_v]_i = W_2 tanh(W_1 e_i + b_1) + b_2, e in R^{P x E} free; then as in P-tuning v2.
Paper: Li, Liang, "Prefix-Tuning: Optimizing Continuous Prompts for Generation" (ACL 2021), sections
4.2 and 4.3 (training P directly was unstable). Reference code: XiangLi1999/PrefixTuning,
`gpt2/train_control.py`: two layers with a tanh between, 800 or 512 wide.

The last layer is fitted so that training begins at the init's keys and values. The network is gone
at export: what is saved are keys and values.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from cuecard.methods.fitting import fitted
from cuecard.methods.prefix_start import PrefixSettings
from cuecard.types import InitContext, ParameterGroup, PrefixKV


class PrefixTuning(PrefixSettings):
    """Settings of prefix tuning.

    Attributes:
        hidden: the network's inner width.
        weights_lr: the peak learning rate of the network; the free vectors take the run's.
    """

    name: ClassVar[str] = "prefix-tuning"
    about: ClassVar[str] = "keys and values that a network makes of free vectors, in every layer"

    hidden: int = Field(default=512, ge=1, le=16384)
    weights_lr: float = Field(default=1e-4, gt=0, allow_inf_nan=False)

    def build(self, context: InitContext) -> MadePrefix:
        """Make the network and what goes into it.

        Raises:
            ConfigError: an init that this backbone or task cannot give.
        """
        width = context.embeddings.shape[1]
        return MadePrefix(self, self.start(context), width, context.generator)


class MadePrefix(nn.Module):
    """Free vectors [P, E] and the two layers that make keys and values [L, 2, K, P, D] of them."""

    def __init__(
        self, settings: PrefixTuning, start: Tensor, width: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self._lr, self._layers, self._heads = settings.weights_lr, start.shape[0], start.shape[2]
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
        """The free vectors at the run's rate, the network at its own."""
        weights = tuple(p for p in self.parameters() if p is not self.free)
        return ParameterGroup((self.free,)), ParameterGroup(weights, self._lr)

    def injection(self) -> PrefixKV:
        """The network's output."""
        made = nn.functional.linear(self._features(), self.last, self.last_bias)
        return PrefixKV.of_matrix(made, self._layers, self._heads)

    def penalty(self) -> Tensor | None:
        """None."""
        return None

    def _features(self) -> Tensor:
        """[P, hidden] what the last layer sees."""
        return torch.tanh(nn.functional.linear(self.free, self.inner, self.inner_bias))
