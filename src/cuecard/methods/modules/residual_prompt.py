"""The vectors and the networks that residual prompt tuning trains. See `methods/residual.py`."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cuecard.methods.residual import ResidualPromptTuning
from cuecard.types import InputTokens, ParameterGroup

_EPSILON = 1e-5  # of the LayerNorm, torch's own


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
