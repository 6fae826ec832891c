"""Prompt tuning that stays near a text, so that the prompt can be read.

Formula: loss + gamma (1/P) sum_i ||p_i - d_i||^2, with d_i the embeddings of the text it starts
from. Paper: Khashabi et al., "Prompt Waywardness: The Curious Case of Discretized Interpretation of
Continuous Prompts" (NAACL 2022), section 3; gamma 0.01 is theirs.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from cuecard.methods.prompt_tuning import SoftPrompt
from cuecard.methods.start import StartSettings
from cuecard.types import InitContext


class Wayward(StartSettings):
    """Settings of readable prompts.

    Attributes:
        gamma: the weight of the distance to the text. 0 is prompt tuning; the larger, the nearer.
    """

    name: ClassVar[str] = "wayward"
    about: ClassVar[str] = "vectors held near to a text, so that they can be read"

    init: Literal["text"] = "text"
    gamma: float = Field(default=0.01, ge=0, allow_inf_nan=False)

    def build(self, context: InitContext) -> ReadablePrompt:
        """Make the prompt.

        Raises:
            ConfigError: a text without tokens, or one that is too long.
        """
        return ReadablePrompt(self.start(context), self.gamma)


class ReadablePrompt(SoftPrompt):
    """Vectors [P, H] and the text's embeddings [P, H] that they are held near to."""

    text: Tensor

    def __init__(self, vectors: Tensor, gamma: float) -> None:
        super().__init__(vectors)
        self.gamma = gamma
        self.register_buffer("text", vectors.detach().float().clone())

    def penalty(self) -> Tensor:
        """gamma (1/P) sum_i ||p_i - d_i||^2."""
        return self.gamma * torch.sum((self.vectors - self.text) ** 2) / len(self.vectors)
