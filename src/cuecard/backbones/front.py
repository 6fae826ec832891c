"""What all rows of a call begin with, run once: instruction, chat header, examples, prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from cuecard.backbones.layout import NOTHING_SHARED, Sharing
from cuecard.backbones.rows import Rows
from cuecard.types import Encoded, Injection


@dataclass(frozen=True, slots=True)
class Front:
    """A beginning whose keys and values are held.

    Attributes:
        injection: the one it was run with; the very object.
        ids: its tokens.
        slot: of the rows, where the prompt stands in it.
        plan: how many tokens it has, and whether the prompt is among them.
        keys_values: [L, 2, K, P, D] of tokens and prompt, behind those of the injection's prefix.
    """

    injection: Injection | None
    ids: tuple[int, ...]
    slot: int
    plan: Sharing
    keys_values: Tensor

    def covers(self, rows: Sequence[Encoded], injection: Injection | None) -> bool:
        """Whether all these rows begin with it."""
        return injection is self.injection and all(
            row.context[: len(self.ids)] == self.ids
            and len(row.context) > len(self.ids)
            and (not self.plan.prompt or row.slot == self.slot)
            for row in rows
        )

    def begins(self, rows: Rows, injection: Injection | None) -> bool:
        """Whether all these rows begin with it and nothing is read in it."""
        count = len(self.ids)
        if injection is not self.injection or rows.ids.shape[1] < count:
            return False
        if bool((rows.read_at <= count).any()) or bool((rows.lengths < count).any()):
            return False
        if self.plan.prompt and (rows.apart is not None or bool((rows.slot != self.slot).any())):
            return False
        if len(rows.given.vectors) and not self.plan.prompt and bool((rows.slot < count).any()):
            return False
        return bool((rows.ids[:, :count] == rows.ids.new_tensor(self.ids)).all())


def plan_front(rows: Sequence[Encoded], prompt_length: int) -> Sharing:
    """What all rows have in common: their first tokens, and the prompt if it stands among them.

    Every row keeps one token at least, whose output is read first.
    """
    # What the first and the last in order begin with, all between them begin with.
    least, most = min(row.context for row in rows), max(row.context for row in rows)
    room = min(len(row.context) for row in rows) - 1
    pairs = zip(least[: max(room, 0)], most, strict=False)
    tokens = next((at for at, (a, b) in enumerate(pairs) if a != b), max(room, 0))
    slots = {row.slot for row in rows}
    apart = any(row.more for row in rows)
    prompt = prompt_length > 0 and not apart and len(slots) == 1 and min(slots) <= tokens
    if prompt_length > 0 and not prompt:
        tokens = min(tokens, *slots)
    found = Sharing(tokens=tokens, prompt=prompt)
    return NOTHING_SHARED if found == NOTHING_SHARED else found
