"""An average of parameters over a run, by the weights of a Gaussian."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class GaussianAverage(nn.Module):
    """The weighted mean of what tensors were after each of a run's parts, t = 1 .. T.

    Khattak et al., "Self-regulating Prompts" (ICCV 2023), section 3.2.2: the weight of part t is
    that of N(mean, deviation^2) at t, and those of the parts that are averaged add up to 1.

    Args:
        like: tensors of the shapes that are averaged.
        parts: T.
    """

    def __init__(
        self, like: Sequence[Tensor], *, parts: int, mean: float, deviation: float
    ) -> None:
        super().__init__()
        self._parts, self._mean, self._deviation = parts, mean, deviation
        # A weight may be too small for any float, and its share of all so far is 1 all the same.
        self.register_buffer("log_weight", torch.tensor(-math.inf, dtype=torch.float64))
        for number, tensor in enumerate(like):
            self.register_buffer(f"mean_{number}", torch.zeros_like(tensor))

    def follow(self, now: Sequence[Tensor], step: int, steps: int) -> None:
        """Average in what the tensors are, if a part of the run ends with this step.

        Args:
            step: its number, from 1, of so many.
        """
        part = step * self._parts // steps
        if part == (step - 1) * self._parts // steps:
            return
        total = self.get_buffer("log_weight")
        own = -0.5 * ((part - self._mean) / self._deviation) ** 2
        grown = torch.logaddexp(total, torch.tensor(own, dtype=torch.float64))
        share = math.exp(own - float(grown))
        total.copy_(grown)
        for number, tensor in enumerate(now):
            mean = self.get_buffer(f"mean_{number}")
            mean += share * (tensor.detach() - mean)

    def of(self, now: Sequence[Tensor]) -> list[Tensor]:
        """The averages; the tensors as they are before a part has ended."""
        if float(self.get_buffer("log_weight")) == -math.inf:
            return list(now)
        return [self.get_buffer(f"mean_{number}") for number in range(len(now))]
