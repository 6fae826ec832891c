"""Token and prompt positions of a batch. Pure functions over index tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from cuecard.errors import ConfigError
from cuecard.types import Batch, Placement

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
    *,
    split: bool = False,
) -> Sharing:
    """Decide what runs once: the prompt if every row has it in one place, and common first tokens.

    Each row keeps the tokens from the first one that differs, and at least the one whose output
    the earliest read needs.

    Args:
        worth: nothing is shared that spares fewer positions.
        split: whether the prompt stands in several places; then only what comes before the first of
            them is shared.
    """
    rows = ids.shape[0]
    room = min(int(lengths.min()), int(read_at.min())) - 1 if read_at.numel() else -1
    if rows < 2 or room < 0:
        return NOTHING_SHARED
    differs = (ids[:, : room + 1] != ids[:1, : room + 1]).any(0)
    common = int(differs.int().argmax()) if bool(differs.any()) else room + 1
    tokens = min(common, room)
    first, last = int(slot.min()), int(slot.max())
    prompt = prompt_length > 0 and not split and first == last and first <= tokens
    if prompt_length > 0 and not prompt:
        tokens = min(tokens, first)
    shared = tokens + (prompt_length if prompt else 0)
    if shared * (rows - 1) < worth:
        return NOTHING_SHARED
    return Sharing(tokens=tokens, prompt=prompt)


@dataclass(frozen=True, slots=True)
class RowLayout:
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


@dataclass(frozen=True, slots=True)
class SplitPlacement:
    """Several places for one prompt.

    Attributes:
        slots: [B, S] tokens before each place.
        sizes: how many vectors each takes.
    """

    slots: Tensor
    sizes: tuple[int, ...]

    def before(self, read_at: Tensor, rows: Tensor) -> Tensor:
        """[N] how many vectors stand before tokens number `read_at` of these rows."""
        passed = read_at[:, None] >= self.slots[rows]
        return (passed * torch.tensor(self.sizes, device=passed.device)).sum(1)

    def behind(self, tokens: Tensor | int) -> SplitPlacement:
        """The same in rows without their first tokens, [B] or one number for all."""
        gone = tokens if isinstance(tokens, int) else tokens[:, None]
        return SplitPlacement(self.slots - gone, self.sizes)


def slots_of(
    placements: Sequence[Placement], device: torch.device
) -> tuple[Tensor, tuple[int, ...]]:
    """Rows' placements as `Batch` has them: slots [B, S] and the sizes that all of them have."""
    return torch.tensor([each.slots for each in placements], device=device), placements[0].sizes


def split_placement(
    slots: Tensor, sizes: tuple[int, ...], prompt_length: int
) -> SplitPlacement | None:
    """The prompt's places if they are several, or None.

    Args:
        slots: [B, S] tokens before each place.
        sizes: how many of the vectors go to each place; empty for an even split, in which the first
            places take what is over.

    Raises:
        ConfigError: sizes of another number of vectors, or fewer vectors than there are places.
    """
    count = slots.shape[1]
    if not prompt_length or (count == 1 and not sizes):
        return None
    each, over = divmod(prompt_length, count)
    found = sizes or tuple(each + (place < over) for place in range(count))
    if sum(found) != prompt_length or not all(found):
        raise ConfigError(
            "the prompt's vectors do not go over the template's places",
            where="slot infix",
            got=f"{prompt_length} vectors",
            expected=f"{sum(sizes)} vectors" if sizes else f"at least {count} vectors",
        )
    return None if count == 1 else SplitPlacement(slots, found)


def lay_out(
    lengths: Tensor,
    slot: Tensor,
    prompt_length: int,
    side: Side,
    split: SplitPlacement | None = None,
) -> RowLayout:
    """Open `prompt_length` places at each row's slot; padding goes to `side`.

    Args:
        lengths: [B] tokens per row.
        slot: [B] tokens before the prompt.
        split: where they are opened instead, in several places.
    """
    full = lengths + prompt_length
    width = int(full.max())
    place = torch.arange(width, device=lengths.device).expand(len(lengths), width)
    if side == "left":
        place = place - (width - full)[:, None]
    real = (place >= 0) & (place < full[:, None])
    last = (lengths - 1).clamp(min=0)[:, None]
    if split is not None:
        return _laid_apart(place, real, last, split)
    before = slot[:, None]
    is_prompt = real & (place >= before) & (place < before + prompt_length)
    token_index = torch.where(place < before, place, place - prompt_length)
    return RowLayout(
        token_index=token_index.clamp(min=0).minimum(last),
        prompt_index=(place - before).clamp(0, max(prompt_length - 1, 0)),
        is_prompt=is_prompt,
        mask=real.long(),
    )


def _laid_apart(place: Tensor, real: Tensor, last: Tensor, split: SplitPlacement) -> RowLayout:
    """The same with several places: a vector's index is the number of vectors before it."""
    sizes = torch.tensor(split.sizes, device=place.device)
    ahead = torch.tensor([0, *accumulate(split.sizes)][:-1], device=place.device)
    offset = place[..., None] - (split.slots + ahead)[:, None]
    before = offset.clamp(min=0).minimum(sizes).sum(-1)
    return RowLayout(
        token_index=(place - before).clamp(min=0).minimum(last),
        prompt_index=before.clamp(max=sum(split.sizes) - 1),
        is_prompt=real & ((offset >= 0) & (offset < sizes)).any(-1),
        mask=real.long(),
    )


def vectors_at(index: Tensor, vectors: Tensor, each: Tensor | None) -> Tensor:
    """[B, W, H] the prompt's vectors by their numbers [B, W].

    Args:
        vectors: [P, H] of all rows.
        each: [B, P, H] every row's own in place of them; None where all have these.
    """
    if each is None:
        return functional.embedding(index, vectors)
    return each.gather(1, index[..., None].expand(-1, -1, each.shape[-1]))
