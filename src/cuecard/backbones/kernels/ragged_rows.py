"""Attention of rows that each have their own cached keys and values, without gradients.

A row's own keys and values are written after those it has, so that what it sees is one stretch of
memory. Rows are padded to the longest, in attention alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

# A key that stands here is after every token.
_NOWHERE = 2**31
# Scores at a time, of all rows and heads: more than a processor's cache holds take twice as long.
_SCORES = 2**20


@dataclass(frozen=True, slots=True)
class Branches:
    """Where rows end in several continuations, which do not see each other.

    Attributes:
        place: [N] each token's place in its row, were its continuation the only one.
        number: [N] which continuation it belongs to, from 1 on; 0 for what comes before them.
    """

    place: Tensor
    number: Tensor


class RaggedRows:
    """A part of a pass. Sizes: B rows, N own tokens in all, W of the longest row, U keys of a row.

    Args:
        values: [L, 2, B, K, U, D] what stands before each row, room for its own tokens, and zeros
            after those; attention writes into the room.
        before: [B] how many tokens that is.
        lengths: [B] own tokens per row.
        branches: None for rows that do not branch.
    """

    def __init__(
        self, values: Tensor, before: Tensor, lengths: Tensor, branches: Branches | None = None
    ) -> None:
        self._values, self._branches = values, branches
        self._b, self._k, self._u = values.shape[2:5]
        self._n, self._w = int(lengths.sum()), int(lengths.max())
        device = lengths.device
        self._row = torch.arange(self._b, device=device).repeat_interleave(lengths)
        starts = lengths.cumsum(0) - lengths
        self._own = torch.arange(self._n, device=device) - starts[self._row]
        self._slot = before[self._row] + self._own
        place = self._own if branches is None else branches.place
        self._position = before[self._row] + place
        self._before = before
        self._unseen: dict[tuple[int, int], Tensor] = {}

    @property
    def tokens(self) -> int:
        """N."""
        return self._n

    def positions(self) -> Tensor:
        """[1, N] every token's position in its own row."""
        return self._position[None]

    def attend(
        self,
        layer: int,
        projected: tuple[Tensor, Tensor, Tensor],
        scale: float,
        window: int,
        cap: float,
    ) -> Tensor:
        """[1, N, H, D] from query [1, H, N, D], key and value [1, K, N, D], which are kept."""
        query, *own = (tensor[0].transpose(0, 1) for tensor in projected)
        heads, size = query.shape[1:]
        group = heads // self._k
        for kept, tensor in zip(self._values[layer], own, strict=True):
            kept[self._row, :, self._slot] = tensor
        keys, values = self._values[layer]  # [B, K, U, D]
        gathered = query.reshape(self._n * self._k, -1).index_select(0, self._queries)
        queries = gathered.view(self._b, self._k, self._w * group, size)
        hidden = self._mask(window, group, query.dtype)
        width = max(1, _SCORES // (self._b * heads * self._u)) * group
        parts = [slice(first, first + width) for first in range(0, queries.shape[2], width)]
        tiles = [
            _attended(queries[:, :, part], keys, values, hidden[:, :, part], scale, cap)
            for part in parts
        ]
        found = tiles[0] if len(tiles) == 1 else torch.cat(tiles, 2)
        back = found.reshape(-1, group * size).index_select(0, self._back)
        return back.view(1, self._n, heads, size)

    @cached_property
    def _queries(self) -> Tensor:
        """[B * K * W] which of the stream's N * K groups of queries stand there, if any does."""
        token = torch.zeros(self._b, self._w, dtype=torch.long, device=self._row.device)
        # A row's own first token fills it up: another row's infinity would not stay its own.
        token += (self._own == 0).nonzero()
        token[self._row, self._own] = torch.arange(self._n, device=self._row.device)
        head = torch.arange(self._k, device=self._row.device)
        return (token[:, None] * self._k + head[:, None]).flatten()

    @cached_property
    def _back(self) -> Tensor:
        """[N * K] where each group of queries stands among B * K * W."""
        head = torch.arange(self._k, device=self._row.device)
        at = (self._row[:, None] * self._k + head) * self._w + self._own[:, None]
        return at.flatten()

    def _mask(self, window: int, group: int, dtype: torch.dtype) -> Tensor:
        """[B, 1, W * G, U] 0 for what a query sees, -inf for the rest."""
        known = self._unseen.get((window, group))
        if known is None:
            hidden = self._hidden(window).repeat_interleave(group, 1)[:, None]
            zeros = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
            known = self._unseen[window, group] = zeros.masked_fill_(hidden, -torch.inf)
        return known

    def _hidden(self, window: int) -> Tensor:
        """[B, W, U] which keys of its row a token does not see."""
        every = torch.arange(self._u, device=self._row.device).expand(self._b, -1)
        keys = every.masked_fill(every >= self._before[:, None], _NOWHERE)
        keys[self._row, self._slot] = self._position
        queries = keys.new_zeros(self._b, self._w)
        queries[self._row, self._own] = self._position
        ahead = keys[:, None] - queries[..., None]
        hidden = (ahead > 0) | (ahead <= -window) if window else ahead > 0
        if self._branches is not None:
            of_keys = keys.new_zeros(self._b, self._u)
            of_keys[self._row, self._slot] = self._branches.number
            of_queries = keys.new_zeros(self._b, self._w)
            of_queries[self._row, self._own] = self._branches.number
            hidden |= (of_keys[:, None] > 0) & (of_keys[:, None] != of_queries[..., None])
        return hidden


def _attended(
    queries: Tensor, keys: Tensor, values: Tensor, unseen: Tensor, scale: float, cap: float
) -> Tensor:
    """[B, K, Q, D] what queries [B, K, Q, D] find in keys and values [B, K, U, D]."""
    scores = torch.matmul(queries, keys.mT).mul_(scale)
    if cap:
        scores.div_(cap).tanh_().mul_(cap)
    scores.add_(unseen)
    wide = torch.promote_types(scores.dtype, torch.float32)
    return torch.matmul(scores.softmax(-1, dtype=wide).to(values.dtype), values)
