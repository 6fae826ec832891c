"""A row with its prompt as vLLM takes it: token ids, embeddings, and which applies where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class PromptEmbeddings:
    """One input of T positions, the prompt's among them.

    Attributes:
        ids: T token ids, 0 at the prompt's positions.
        is_id: T times whether the id applies, not the embedding.
        embeds: [T, H] the prompt's vectors at their positions, zeros elsewhere.
        salt: keeps cached keys and values of different prompts apart.
    """

    ids: list[int]
    is_id: list[bool]
    embeds: Tensor
    salt: str


def prompt_embeddings(
    vectors: Tensor, digest: str, context: Sequence[int], slot: int
) -> PromptEmbeddings:
    """Insert a prompt's vectors [P, H] after the first `slot` tokens of a context.

    The slot is part of the salt: vLLM's cache hashes ids and embeddings but not which of them
    counts (vllm-project/vllm#56655). With the digest and the slot nothing is left to mistake.
    """
    count, width = vectors.shape
    embeds = torch.zeros(len(context) + count, width, dtype=vectors.dtype)
    embeds[slot : slot + count] = vectors
    after = len(context) - slot
    return PromptEmbeddings(
        ids=[*context[:slot], *[0] * count, *context[slot:]],
        is_id=[*[True] * slot, *[False] * count, *[True] * after],
        embeds=embeds,
        salt=f"{digest}@{slot}",
    )
