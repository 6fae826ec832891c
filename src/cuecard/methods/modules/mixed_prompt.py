"""The prompt and the attention to source prompts that ATTEMPT trains. See `methods/attempt.py`."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cuecard.methods.attempt import ATTEMPT
from cuecard.methods.modules.coupled_prompt import drawn_linear
from cuecard.types import InputTokens, ParameterGroup, PromptMix


class MixedPrompt(nn.Module):
    """Vectors [P, H], projections [R, H] and [H, R], a layer norm, and source prompts [S, P, H].

    Args:
        start: where the vectors start.
        sources: the source prompts, which are not trained.
        generator: draws the projections.
    """

    sources: Tensor

    def __init__(
        self, settings: ATTEMPT, start: Tensor, sources: Tensor, generator: torch.Generator
    ) -> None:
        super().__init__()
        width, middle = start.shape[1], settings.bottleneck
        self._lr = settings.attention_lr
        self._temperature = settings.temperature or math.e * width
        self.vectors = nn.Parameter(start.float().clone())
        self.register_buffer("sources", sources.detach().float().to(start.device).clone())
        down = drawn_linear((middle, width), width, generator)
        up = drawn_linear((width, middle), middle, generator)
        self.down, self.up = nn.Parameter(down.to(start.device)), nn.Parameter(up.to(start.device))
        self.norm = nn.Parameter(start.new_ones(width).float())
        self.norm_bias = nn.Parameter(start.new_zeros(width).float())

    def groups(self) -> tuple[ParameterGroup, ...]:
        """The vectors at the run's rate, the attention at its own."""
        attention = self.down, self.up, self.norm, self.norm_bias
        return ParameterGroup((self.vectors,)), ParameterGroup(attention, self._lr)

    def injection(self) -> InputTokens:
        """The vectors, and what each input adds to them."""
        mix = PromptMix(
            self.sources, self.down, self.up, self.norm, self.norm_bias, self._temperature
        )
        return InputTokens(self.vectors, mix=mix)

    def penalty(self) -> None:
        """None."""
