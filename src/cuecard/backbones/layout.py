"""Where every token and every prompt vector of a batch goes. Pure functions over index tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cuecard.types import Batch

Side = Literal["left", "right"]

# Running the common part apart costs a forward pass of its own; below this it does not pay.
APART = 64


def align_left(batch: Batch) -> tuple[Tensor, Tensor]:
    """A batch's rows without their padding in front: ids [B, T'], lengths [B].

    What stands to the right of a row's end is left over and means nothing.
    """
    lengths = batch.attention_mask.sum(1)
    width = int(lengths.max()) if len(batch) else 0
    order = torch.argsort(1 - batch.attention_mask, dim=1, stable=True)[:, :width]
    return batch.input_ids.gather(1, order), lengths


@dataclass(frozen=True, slots=True)
class Sharing:
    """What a batch runs once instead of once per row.

    Attributes:
        tokens: how many leading tokens are the same in every row and run once.
        prompt: whether the prompt stands among them.
    """

    tokens: int
    prompt: bool


NOTHING_SHARED = Sharing(tokens=0, prompt=False)


def plan_sharing(
    ids: Tensor,
    lengths: Tensor,
    slot: Tensor,
    read_at: Tensor,
    prompt_length: int,
    worth: int = APART,
) -> Sharing:
    """Decide what runs once: the prompt if every row has it in one place, and common first tokens.

    Each row keeps the tokens from the first one that differs, and at least the one whose output
    the earliest read needs.

    Args:
        worth: nothing is shared that spares fewer positions.
    """
    rows = ids.shape[0]
    room = min(int(lengths.min()), int(read_at.min())) - 1 if read_at.numel() else -1
    if rows < 2 or room < 0:
        return NOTHING_SHARED
    differs = (ids[:, : room + 1] != ids[:1, : room + 1]).any(0)
    common = int(differs.int().argmax()) if bool(differs.any()) else room + 1
    tokens = min(common, room)
    first, last = int(slot.min()), int(slot.max())
    prompt = prompt_length > 0 and first == last and first <= tokens
    if prompt_length > 0 and not prompt:
        tokens = min(tokens, first)
    shared = tokens + (prompt_length if prompt else 0)
    if shared * (rows - 1) < worth:
        return NOTHING_SHARED
    return Sharing(tokens=tokens, prompt=prompt)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows with the prompt's places opened and padded to one width W.

    Attributes:
        token_index: [B, W] which of the row's tokens stands there.
        prompt_index: [B, W] which prompt vector stands there.
        is_prompt: [B, W] bool.
        mask: [B, W] int64, 1 where something real stands.
    """

    token_index: Tensor
    prompt_index: Tensor
    is_prompt: Tensor
    mask: Tensor


def lay_out(lengths: Tensor, slot: Tensor, prompt_length: int, side: Side) -> Rows:
    """Open `prompt_length` places at each row's slot; padding goes to `side`.

    Args:
        lengths: [B] tokens per row.
        slot: [B] tokens before the prompt.
    """
    full = lengths + prompt_length
    width = int(full.max())
    place = torch.arange(width, device=lengths.device).expand(len(lengths), width)
    if side == "left":
        place = place - (width - full)[:, None]
    real = (place >= 0) & (place < full[:, None])
    before = slot[:, None]
    is_prompt = real & (place >= before) & (place < before + prompt_length)
    token_index = torch.where(place < before, place, place - prompt_length)
    last = (lengths - 1).clamp(min=0)[:, None]
    return Rows(
        token_index=token_index.clamp(min=0).minimum(last),
        prompt_index=(place - before).clamp(0, max(prompt_length - 1, 0)),
        is_prompt=is_prompt,
        mask=real.long(),
    )
