"""The vectors that prompt tuning trains. See `methods/prompt_tuning.py`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cuecard.types import InputTokens, ParameterGroup, Towers


class SoftPrompt(nn.Module):
    """The prompt's vectors [P, H], and [D, H] of the decoder, in float32 whatever the backbone's.

    Whichever has no rows is no parameter.
    """

    def __init__(self, vectors: Tensor, decoder: Tensor | None = None) -> None:
        super().__init__()
        empty = torch.zeros(0, vectors.shape[1], device=vectors.device)
        self.vectors = nn.Parameter(vectors.float()) if len(vectors) else empty
        self.decoder = None if decoder is None else nn.Parameter(decoder.float())

    def groups(self) -> tuple[ParameterGroup, ...]:
        """One rate, the run's."""
        return (ParameterGroup(tuple(self.parameters())),)

    def injection(self) -> InputTokens | Towers:
        """The vectors as they are, in the towers that have some."""
        if self.decoder is None:
            return InputTokens(self.vectors)
        return Towers({"text": InputTokens(self.vectors), "decoder": InputTokens(self.decoder)})

    def penalty(self) -> Tensor | None:
        """None."""
        return None
