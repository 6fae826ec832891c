"""Residual prompt tuning: every vector plus what a small network makes of it.

Formula: p_i' = p_i + phi(p_i), phi(p) = [LayerNorm](W_up ReLU(W_down p + b_down) + b_up), with one
phi for all vectors, or one for each ("separate").
Paper: Razdaibiedina et al., "Residual Prompt Tuning: Improving Prompt Tuning with Residual
Reparameterization" (ACL Findings 2023), sections 3.1 and 3.2; there the bottleneck is 800 or 400.
Reference code: arazd/ResidualPrompts, `prompt_tuner.py`. Its "MLP2" lists the same modules twice
and so shares their weights between two layers that should differ; it is left out here.

phi begins at zero, so that training begins at the init's vectors exactly: without a LayerNorm its
last layer is zero, with one the norm's gain (a norm after a zero layer would divide by nothing).
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from cuecard.methods.start import StartSettings
from cuecard.types import InitContext, InputTokens, ParameterGroup

_EPSILON = 1e-5  # of the LayerNorm, torch's own


class ResidualPromptTuning(StartSettings):
    """Settings of residual prompt tuning.

    Attributes:
        bottleneck: the width between the two layers.
        layer_norm: whether the network's output is normalised.
        separate: a network for each vector instead of one for all.
        weights_lr: the peak learning rate of the network; the vectors take the run's.
    """

    name: ClassVar[str] = "residual"
    about: ClassVar[str] = "vectors, and a network whose output is added to each"

    bottleneck: int = Field(default=400, ge=1, le=8192)
    layer_norm: bool = False
    separate: bool = False
    weights_lr: float = Field(default=1e-4, gt=0, allow_inf_nan=False)

    def build(self, context: InitContext) -> ResidualPrompt:
        """Make the prompt.

        Raises:
            ConfigError: an init that this backbone or task cannot give.
        """
        return ResidualPrompt(self, self.start(context), context.generator)


class ResidualPrompt(nn.Module):
    """Vectors [P, H] and C networks (1 or P): down [C, H, m], up [C, m, H], biases, norm [C, H]."""

    def __init__(
        self, settings: ResidualPromptTuning, vectors: Tensor, generator: torch.Generator
    ) -> None:
        super().__init__()
        count = len(vectors) if settings.separate else 1
        width, middle = vectors.shape[1], settings.bottleneck
        self._lr, self._normed = settings.weights_lr, settings.layer_norm
        self.vectors = nn.Parameter(vectors.float())

        def uniform(*size: int, fan_in: int) -> nn.Parameter:
            bound = 1 / math.sqrt(fan_in)  # nn.Linear's own
            drawn = torch.rand(size, generator=generator) * 2 * bound - bound
            return nn.Parameter(drawn.to(vectors.device))

        def zeros(*size: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(size, device=vectors.device))

        self.down = uniform(count, width, middle, fan_in=width)
        self.down_bias = uniform(count, 1, middle, fan_in=width)
        if self._normed:
            self.up = uniform(count, middle, width, fan_in=middle)
            self.gain = zeros(count, 1, width)
        else:
            self.up = zeros(count, middle, width)
        self.up_bias = zeros(count, 1, width)

    def groups(self) -> tuple[ParameterGroup, ...]:
        """The vectors at the run's rate, the networks at their own."""
        weights = tuple(p for p in self.parameters() if p is not self.vectors)
        return ParameterGroup((self.vectors,)), ParameterGroup(weights, self._lr)

    def injection(self) -> InputTokens:
        """p + phi(p)."""
        rows = self.vectors[:, None] if len(self.down) > 1 else self.vectors[None]
        middle = torch.relu(torch.baddbmm(self.down_bias, rows, self.down))
        if self._normed:
            product = torch.bmm(middle, self.up)
            normed = nn.functional.layer_norm(product, product.shape[-1:], eps=_EPSILON)
            out = normed * self.gain + self.up_bias
        else:
            out = torch.baddbmm(self.up_bias, middle, self.up)
        return InputTokens(self.vectors + out.view_as(self.vectors))

    def penalty(self) -> Tensor | None:
        """None."""
        return None
