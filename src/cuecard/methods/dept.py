"""Decomposed prompt tuning (DePT): a shorter prompt and a low-rank update of the embeddings.

Formula: LM([P; E(x) + (alpha / sqrt r) A[:T] B]), with P in R^{P x H}, A in R^{S x r}, B in
R^{r x H}, B = 0 at the start, and two learning rates.
Paper: Shi, Lipani, "DePT: Decomposed Prompt Tuning for Parameter-Efficient Fine-tuning" (ICLR
2024), section 3. The scale is the published code's (ZhengxiangShi/DePT,
`peft/tuners/prompt_tuning_lora.py`); the paper has none. That code pads every batch to S tokens;
here A is cut to the row, so short rows stay short. Tokens behind place S are left as they are.

At export A B folds to [S, H] numbers, S times as many as one vector: choose S no longer than the
inputs are.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from cuecard.methods.start import StartSettings
from cuecard.types import InitContext, InputTokens, Need, ParameterGroup


class DePT(StartSettings):
    """Settings of decomposed prompt tuning.

    Attributes:
        rank: r; 0 < r.
        tokens: S, the places from the row's first token on whose embeddings are updated.
        alpha: the update's scale is alpha / sqrt(r).
        update_lr: the peak learning rate of A and B; the prompt takes the run's.
    """

    name: ClassVar[str] = "dept"
    about: ClassVar[str] = "a short prompt, and a low-rank update of the embeddings of the input"
    needs: ClassVar[tuple[Need, ...]] = ("input-tokens", "token-shifts")

    rank: int = Field(default=8, ge=1, le=1024)
    tokens: int = Field(default=128, ge=1, le=4096)
    alpha: float = Field(default=8.0, gt=0, allow_inf_nan=False)
    update_lr: float = Field(default=1e-3, gt=0, allow_inf_nan=False)

    def build(self, context: InitContext) -> DecomposedPrompt:
        """Make the prompt and its update.

        Raises:
            ConfigError: an init that this backbone or task cannot give.
        """
        return DecomposedPrompt(self, self.start(context), context.generator)


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
