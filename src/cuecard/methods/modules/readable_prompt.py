"""The vectors that are trained near to a text. See `methods/wayward.py`."""

from __future__ import annotations

import torch
from torch import Tensor

from cuecard.methods.modules.soft_prompt import SoftPrompt


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
