"""Rows whose continuation is a tree of tokens: where each token stands, and what it sees.

context  c0 c1 c2            a token sees the context and its own line alone, and its position
           |-- a -- b        is that in its line, so that the state of every line is the one it
           |-- d -- e        would have as a row of its own
                '-- f
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cuecard.backbones.kernels.positions import RowLayout


@dataclass(frozen=True, slots=True)
class Tree:
    """Lines of tokens in B rows of up to T tokens, the prompt not counted.

    Attributes:
        place: [B, T] each token's place in its own line.
        seen: [B, T, T] bool, whether the second token stands in the first one's line, itself too.
    """

    place: Tensor
    seen: Tensor

    @classmethod
    def of(cls, follows: Tensor) -> Tree:
        """From the number of the token that each one follows, -1 for none. [B, T]"""
        rows, width = follows.shape
        column = torch.arange(width, device=follows.device)
        place = column.repeat(rows, 1)
        seen = torch.ones(width, width, dtype=torch.bool, device=follows.device).tril()
        seen = seen.repeat(rows, 1, 1)
        every = torch.arange(rows, device=follows.device)
        plain = (follows == column - 1).all(0).int()
        first = int(plain.cumprod(0).sum())  # up to here all rows are one line
        for at in range(first, width):
            before = follows[:, at]
            place[:, at] = place[every, before] + 1
            seen[:, at] = seen[every, before]
            seen[:, at, at] = True
        return cls(place, seen)

    def from_slot(self, slot: Tensor, index: Tensor) -> Tree:
        """The same of what begins at the slot [B]: the tokens with these numbers [B, W]."""
        return Tree(self.place.gather(1, index) - slot[:, None], _pairs(self.seen, index))

    def laid_out(self, places: RowLayout, gone: int) -> LaidTree:
        """The same with a prompt's places opened, and without each row's first tokens.

        Args:
            gone: how many first tokens are left out; `places` is of the others.
        """
        token = places.token_index + gone
        column = torch.arange(token.shape[1], device=token.device)
        before = torch.where(places.is_prompt, 0, token - self.place.gather(1, token))
        seen = _pairs(self.seen, token) | places.is_prompt[:, None] | places.is_prompt[..., None]
        return LaidTree(column - before, seen.tril())


@dataclass(frozen=True, slots=True)
class LaidTree:
    """The same with the prompt in its place.

    Attributes:
        position: [B, W] of each place in its own line.
        seen: [B, W, W] bool, which places of its row each one sees.
    """

    position: Tensor
    seen: Tensor


def _pairs(seen: Tensor, index: Tensor) -> Tensor:
    """[B, W, W] of [B, T, T] at numbers [B, W], for both sides."""
    width = index.shape[1]
    chosen = seen.gather(1, index[:, :, None].expand(-1, -1, seen.shape[2]))
    return chosen.gather(2, index[:, None].expand(-1, width, -1))
