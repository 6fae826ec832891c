"""What an engine needs to know of a backbone whose weights are in another process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from cuecard.types import Backbone, Fingerprint, Tokenizer


@dataclass(frozen=True, slots=True)
class BackboneInfo:
    """A backbone without its weights.

    Attributes:
        name: what the user called it.
        source: the folder or hub id that its weights were loaded from.
        tokenizer: its tokenizer.
        dtype: the type of its numbers.
        hidden_size, num_layers, vocab_size, max_positions: its widths.
        causal: whether it is a causal language model.
        fingerprint: what a prompt's backbone must match.
        end_ids: the tokens that end an answer: the tokenizer's and the model's own.
    """

    name: str
    source: str
    tokenizer: Tokenizer
    dtype: torch.dtype
    hidden_size: int
    num_layers: int
    vocab_size: int
    max_positions: int
    causal: bool
    fingerprint: Fingerprint
    end_ids: frozenset[int]

    @classmethod
    def of(cls, backbone: Backbone) -> BackboneInfo:
        """Read off a loaded backbone, which can be let go then."""
        return cls(
            name=backbone.name,
            source=str(backbone.model.name_or_path),
            tokenizer=backbone.tokenizer,
            dtype=backbone.dtype,
            hidden_size=backbone.hidden_size,
            num_layers=backbone.num_layers,
            vocab_size=backbone.vocab_size,
            max_positions=backbone.max_positions,
            causal=backbone.causal,
            fingerprint=backbone.fingerprint,
            end_ids=_end_ids(backbone),
        )


def _end_ids(backbone: Backbone) -> frozenset[int]:
    ends: Any = getattr(getattr(backbone.model, "generation_config", None), "eos_token_id", None)
    known = [backbone.tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])]
    return frozenset(int(end) for end in known if end is not None)
