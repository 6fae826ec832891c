from __future__ import annotations

import pytest
import torch

from cuecard.engine.vllm.prompt_embeddings import prompt_embeddings

VECTORS = torch.arange(1.0, 7.0).view(3, 2)


@pytest.mark.parametrize("slot", [0, 2, 5])
def test_vectors_stand_behind_the_slots_tokens(slot: int) -> None:
    context = (11, 12, 13, 14, 15)
    row = prompt_embeddings(VECTORS, "abc", context, slot)
    assert row.ids == [*context[:slot], 0, 0, 0, *context[slot:]]
    assert [i for i, is_id in enumerate(row.is_id) if not is_id] == [slot, slot + 1, slot + 2]
    assert torch.equal(row.embeds[slot : slot + 3], VECTORS)
    others = [i for i, is_id in enumerate(row.is_id) if is_id]
    assert len(row.embeds) == len(row.ids) == 8 and not row.embeds[others].any()


def test_the_vectors_type_is_kept() -> None:
    assert prompt_embeddings(VECTORS.bfloat16(), "abc", (1,), 0).embeds.dtype == torch.bfloat16


def test_cached_blocks_are_told_apart_by_digest_and_slot() -> None:
    """Zeros for vectors and id 0 for tokens look the same to vLLM's cache."""
    zeros = torch.zeros(2, 2)
    one, other = (
        prompt_embeddings(zeros, "abc", (0, 0, 0), 0),
        prompt_embeddings(zeros, "abc", (0, 0, 0), 3),
    )
    assert one.ids == other.ids and torch.equal(one.embeds, other.embeds)
    assert one.is_id != other.is_id and one.salt != other.salt
    assert prompt_embeddings(zeros, "abd", (0, 0, 0), 0).salt not in {one.salt, other.salt}
