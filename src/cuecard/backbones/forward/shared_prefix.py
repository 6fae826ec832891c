"""The shared prefix of a call's rows, run once: instruction, chat header, examples, prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from cuecard.backbones.forward.unpadded import UnpaddedRows
from cuecard.backbones.kernels.positions import NOTHING_SHARED, Sharing
from cuecard.types import Encoded, Injection


@dataclass(frozen=True, slots=True)
class SharedPrefix:
    """A beginning whose keys and values are held.

    Attributes:
        injection: the one it was run with; the very object.
        ids: its tokens.
        slot: of the rows, where the prompt stands in it.
        plan: how many tokens it has, and whether the prompt is among them.
        keys_values: [L, 2, K, P, D] of tokens and prompt, after those of the injection's prefix.
        contexts: rows without their last tokens -> [L, 2, K, t, D] of what stands after the front.
    """

    injection: Injection | None
    ids: tuple[int, ...]
    slot: int
    plan: Sharing
    keys_values: Tensor
    contexts: Mapping[tuple[int, ...], Tensor] = field(default_factory=dict)

    def kept(self, rows: UnpaddedRows) -> list[Tensor] | None:
        """What is kept of the contexts of rows that begin with this; None if one is not."""
        if not self.contexts or rows.context is None or rows.given.shifts is not None:
            return None
        if bool((rows.read_at < rows.context[rows.read_rows]).any()):
            return None
        if len(rows.given.vectors) and not self.plan.prompt:
            return None
        pairs = zip(rows.ids.tolist(), rows.context.tolist(), strict=True)
        found = [self.contexts.get(tuple(ids[: length - 1])) for ids, length in pairs]
        return (
            [each for each in found if each is not None]
            if all(each is not None for each in found)
            else None
        )

    def covers(self, rows: Sequence[Encoded], injection: Injection | None) -> bool:
        """Whether all these rows begin with it."""
        return injection is self.injection and all(
            row.context[: len(self.ids)] == self.ids
            and len(row.context) > len(self.ids)
            and (not self.plan.prompt or row.slot == self.slot)
            for row in rows
        )

    def begins(self, rows: UnpaddedRows, injection: Injection | None) -> bool:
        """Whether all these rows begin with it and nothing is read in it."""
        count = len(self.ids)
        if injection is not self.injection or rows.ids.shape[1] < count:
            return False
        if bool((rows.read_at <= count).any()) or bool((rows.lengths < count).any()):
            return False
        if self.plan.prompt and (rows.split is not None or bool((rows.slot != self.slot).any())):
            return False
        if len(rows.given.vectors) and not self.plan.prompt and bool((rows.slot < count).any()):
            return False
        return bool((rows.ids[:, :count] == rows.ids.new_tensor(self.ids)).all())


def plan_shared_prefix(rows: Sequence[Encoded], prompt_length: int) -> Sharing:
    """What all rows have in common: their first tokens, and the prompt if it stands among them.

    Every row keeps one token at least, whose output is read first.
    """
    # What the first and the last in order begin with, all between them begin with.
    least, most = min(row.context for row in rows), max(row.context for row in rows)
    room = min(len(row.context) for row in rows) - 1
    pairs = zip(least[: max(room, 0)], most, strict=False)
    tokens = next((at for at, (a, b) in enumerate(pairs) if a != b), max(room, 0))
    slots = {row.slot for row in rows}
    split = any(len(row.placement.slots) > 1 for row in rows)
    prompt = prompt_length > 0 and not split and len(slots) == 1 and min(slots) <= tokens
    if prompt_length > 0 and not prompt:
        tokens = min(tokens, *slots)
    found = Sharing(tokens=tokens, prompt=prompt)
    return NOTHING_SHARED if found == NOTHING_SHARED else found


def in_groups(
    keys: Sequence[tuple[int, ...]], sizes: Sequence[int], most: int
) -> list[list[tuple[int, ...]]]:
    """Keys in their order, in groups whose sizes add up to `most` at most, or of one alone."""
    groups: list[list[tuple[int, ...]]] = []
    total = 0
    for key, size in zip(keys, sizes, strict=True):
        if not groups or total + size > most:
            groups.append([])
            total = 0
        groups[-1].append(key)
        total += size
    return groups
