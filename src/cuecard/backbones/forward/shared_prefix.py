"""The shared prefix of a call's rows, run once: instruction, chat header, examples, prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from cuecard.backbones.forward.unpadded import UnpaddedRows
from cuecard.backbones.kernels.packing import Kept
from cuecard.backbones.kernels.positions import NOTHING_SHARED, Sharing
from cuecard.types import Encoded, Injection, common_beginning


@dataclass(frozen=True, slots=True)
class SharedPrefix:
    """A beginning whose keys and values are held.

    Attributes:
        ids: its tokens.
        keys_values: [L, 2, K, P, D] of tokens and prompt, after those of the injection's prefix.
        injection: the one it was run with, the very object; None where none changes it.
        slot: of the rows, where the prompt stands in it; None where it does not.
        contexts: rows without their last tokens -> [L, 2, K, t, D] of what stands after the front.
    """

    ids: tuple[int, ...]
    keys_values: Tensor
    injection: Injection | None = None
    slot: int | None = None
    contexts: Mapping[tuple[int, ...], Tensor] = field(default_factory=dict)

    def kept(self, rows: UnpaddedRows, injection: Injection | None) -> Kept | None:
        """What is kept of the beginnings of these rows; None if they do not begin with this."""
        if not self._begins(rows, injection):
            return None
        prompt, contexts = self.slot is not None, self._contexts(rows)
        if contexts is None:
            count = rows.lengths.new_full(rows.lengths.shape, len(self.ids))
            return Kept(self.keys_values, (), count, prompt)
        assert rows.context is not None
        return Kept(self.keys_values, contexts, rows.context - 1, prompt)

    def _contexts(self, rows: UnpaddedRows) -> list[Tensor] | None:
        """What is kept of the contexts of rows that begin with this; None if one is not."""
        if not self.contexts or rows.context is None or rows.given.shifts is not None:
            return None
        if bool((rows.read_at < rows.context[rows.read_rows]).any()):
            return None
        if len(rows.given.vectors) and self.slot is None:
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
            and self.slot in (None, row.slot)
            for row in rows
        )

    def _begins(self, rows: UnpaddedRows, injection: Injection | None) -> bool:
        """Whether all these rows begin with it and nothing is read in it."""
        count, given = len(self.ids), rows.given
        if self.injection is None:
            if given.shifts is not None or (given.prefix is not None and not given.late):
                return False
        elif injection is not self.injection:
            return False
        if rows.ids.shape[1] < count:
            return False
        if bool((rows.read_at <= count).any()) or bool((rows.lengths < count).any()):
            return False
        if self.slot is not None:
            if rows.split is not None or bool((rows.slot != self.slot).any()):
                return False
        elif (len(given.vectors) or given.late) and bool((rows.slot < count).any()):
            return False
        return bool((rows.ids[:, :count] == rows.ids.new_tensor(self.ids)).all())


def plan_shared_prefix(
    rows: Sequence[Encoded], prompt_length: int, *, differs: bool = False
) -> Sharing:
    """What all rows have in common: their first tokens, and the prompt if it stands among them.

    Every row keeps one token at least, whose output is read first.

    Args:
        differs: whether each row has a prompt of its own.
    """
    room = max(0, min(len(row.context) for row in rows) - 1)
    tokens = min(room, common_beginning([row.context for row in rows]))
    slots = {row.slot for row in rows}
    split = any(len(row.placement.slots) > 1 for row in rows)
    alike = not split and not differs and len(slots) == 1
    prompt = prompt_length > 0 and alike and min(slots) <= tokens
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
