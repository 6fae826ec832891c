"""The oracle of masked models: a row at a time, embeddings put together by hand, no padding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from cuecard.types import Encoded, PrefixKV

# What the tokenizer puts behind every text.
ENDS = (2,)


def with_masks(row: Encoded, count: int) -> tuple[list[int], int]:
    """The row's ids with so many masks in place of its one, and the prompt's place among them."""
    assert row.mask is not None
    ids = list(row.context)
    masks = [ids[row.mask]] * count
    slot = row.slot if row.slot <= row.mask else row.slot + count - 1
    return [*ids[: row.mask], *masks, *ids[row.mask + 1 :], *ENDS], slot


def behind_prefix(model: Any, ids: list[int], injection: PrefixKV, first: int) -> Tensor:
    """[T, V] logits where every layer finds keys and values in front of its own.

    Args:
        first: the position of a text's first token.
    """
    places = torch.arange(len(ids))[None] + first + injection.length
    before, count = model.config._attn_implementation, 0

    def attend(
        module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, scaling: Any, **_: Any
    ) -> tuple[Tensor, None]:
        nonlocal count
        own_keys, own_values = injection.keys_values[count]
        count += 1
        scores = scaling * query @ torch.cat([own_keys[None], key], 2).transpose(2, 3)
        if mask is not None:
            scores = scores + functional.pad(mask, (injection.length, 0))
        weights = scores.softmax(-1) @ torch.cat([own_values[None], value], 2)
        return weights.transpose(1, 2), None

    AttentionInterface.register("by_hand", attend)
    AttentionMaskInterface.register("by_hand", eager_mask)
    model.set_attn_implementation("by_hand")
    logits: Tensor = model(input_ids=torch.tensor([ids]), position_ids=places).logits[0]
    model.set_attn_implementation(before)
    assert count == len(injection.keys_values)
    return logits
