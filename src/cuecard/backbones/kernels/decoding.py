"""Decoding: rows that grow by one token per pass, each with its own keys and values.

A block holds a few rows of one capacity. Live rows stand at its front, so that attention reads one
stretch of memory; a row that ends is replaced by the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from cuecard.backbones.kernels.input_cache import Shape

# A block has room for so many more tokens of a row each time that its longest needs more.
_STEP = 16


class Block:
    """Room for the keys and values of a few rows.

    Args:
        shape: of what is kept per token.
        rows: R, how many rows fit.
        capacity: C, how many tokens of a row fit.
    """

    def __init__(self, shape: Shape, rows: int, capacity: int, device: torch.device) -> None:
        # Zeros, for a key that is hidden must still be finite; on a CPU they take no memory yet.
        numbers = 2 * shape.layers * rows * shape.heads * capacity * shape.size
        self._room = torch.zeros(numbers, dtype=shape.dtype, device=device)
        self._shape, self._width = shape, 0
        self.lengths = torch.zeros(rows, dtype=torch.long)
        self.rows, self.capacity, self.live = rows, capacity, 0

    @property
    def values(self) -> Tensor:
        """[L, 2, R, K, T, D], T being as much of the capacity as is in use."""
        shape = self._shape
        size = (shape.layers, 2, self.rows, shape.heads, self._width, shape.size)
        return self._room[: prod(size)].view(size)

    @property
    def full(self) -> bool:
        """Whether no row fits any more."""
        return self.live == self.rows

    def join(self, pieces: Sequence[Tensor]) -> int:
        """Take a row in after its keys and values [L, 2, K, t, D], one piece after the other.

        Returns:
            Its place.
        """
        assert not self.full, f"{self.live} of {self.rows} rows are live"
        self._widen(sum(piece.shape[3] for piece in pieces))
        row, length, values = self.live, 0, self.values
        for piece in pieces:
            end = length + piece.shape[3]
            values[:, :, row, :, length:end] = piece
            length = end
        self.lengths[row] = length
        self.live += 1
        return row

    def leave(self, row: int) -> int | None:
        """Let a row go.

        Returns:
            The place of the row that now stands in its stead; None if it was the last.
        """
        last, values = self.live - 1, self.values
        gone, length = int(self.lengths[row]), int(self.lengths[last])
        if row != last:
            values[:, :, row, :, :length] = values[:, :, last, :, :length]
            values[:, :, row, :, length:gone] = 0
            self.lengths[row] = length
        values[:, :, last, :, :length] = 0
        self.lengths[last] = 0
        self.live = last
        return last if row != last else None

    def step(self) -> Decoding:
        """The next token of every live row, as a part of a pass."""
        self._widen(int(self.lengths[: self.live].max()) + 1)
        return Decoding(self)

    def grown(self) -> None:
        """The pass has run: every live row is one token longer."""
        self.lengths[: self.live] += 1

    def _widen(self, tokens: int) -> None:
        """Have room for rows of so many tokens.

        Rows stand close to each other: products copy what has gaps, every layer in every pass.
        """
        if tokens <= self._width:
            return
        before, narrow = self.values.flatten(0, 1), self._width
        self._width = min(self.capacity, -(-tokens // _STEP) * _STEP)
        after = self.values.flatten(0, 1)
        # From the last on, so that nothing is written over what has not been moved.
        for number in reversed(range(len(after) if self.live else 0)):
            kept = before[number, : self.live].clone()
            after[number].zero_()[: self.live, :, :narrow] = kept


class Decoding:
    """One token of every live row of a block. Sizes: n live rows, T tokens that the block has."""

    def __init__(self, block: Block) -> None:
        device, self._n = block.values.device, block.live
        self._lengths = block.lengths[: self._n].to(device)
        self._values = block.values[:, :, : self._n]
        self._t = self._values.shape[4]
        self._rows = torch.arange(self._n, device=device)
        self._hidden: dict[int, Tensor] = {}

    @property
    def tokens(self) -> int:
        """n."""
        return self._n

    def positions(self) -> Tensor:
        """[1, n] every token's position in its own row."""
        return self._lengths[None]

    def attend(
        self,
        layer: int,
        projected: tuple[Tensor, Tensor, Tensor],
        scale: float,
        window: int,
        cap: float,
    ) -> Tensor:
        """[1, n, H, D] from query [1, H, n, D], key and value [1, K, n, D], which are kept."""
        query, key, value = projected
        keys, values = self._values[layer]  # [n, K, T, D]
        keys[self._rows, :, self._lengths] = key[0].transpose(0, 1)
        values[self._rows, :, self._lengths] = value[0].transpose(0, 1)
        heads, size = query.shape[1], query.shape[3]
        groups = query[0].transpose(0, 1).reshape(self._n, keys.shape[1], -1, size)
        scores = torch.matmul(groups, keys.mT).mul_(scale)  # [n, K, G, T]
        if cap:
            scores.div_(cap).tanh_().mul_(cap)
        scores.masked_fill_(self._unseen(window), -torch.inf)
        wide = torch.promote_types(scores.dtype, torch.float32)
        found = torch.matmul(scores.softmax(-1, dtype=wide).to(values.dtype), values)
        return found.reshape(1, self._n, heads, size)

    def _unseen(self, window: int) -> Tensor:
        """[n, 1, 1, T] which keys a row's token does not see."""
        known = self._hidden.get(window)
        if known is None:
            ahead = torch.arange(self._t, device=self._lengths.device) - self._lengths[:, None]
            known = (ahead > 0) | (ahead <= -window) if window else ahead > 0
            known = self._hidden[window] = known[:, None, None]
        return known
