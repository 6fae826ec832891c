"""Where everything stands in one packed sequence: what is shared, then each row's own tokens.

    stream:  [ shared S | row 0 | row 1 | ... | row B-1 ]      N = S + sum of the rows' lengths

A row's token sees the shared part and its own row up to itself, as if it had been run alone. Every
layer but attention works token by token, so nothing in it is padded and nothing is run twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Heads:
    """Gathers between the stream's [token, head] order and the order attention multiplies in.

    Attributes:
        queries: [K * B * G * W] rows of the stream's own part seen as [R * H, D].
        keys: [K * B * W] rows of it seen as [R * K, D].
        queries_back: [R * H] where each of the stream's rows stands among `queries`.
        keys_back: [R * K] the same among `keys`.
        padding: places among `queries` that hold nothing.
    """

    queries: Tensor
    keys: Tensor
    queries_back: Tensor
    keys_back: Tensor
    padding: Tensor


@dataclass(frozen=True, slots=True)
class Causal:
    """What is added to scores: 0 where a key may be seen, -inf elsewhere.

    Attributes:
        first: [S, S] of the shared part.
        rows: [W, S + W] of a row's own tokens.
    """

    first: Tensor
    rows: Tensor


@dataclass(frozen=True, slots=True)
class Packing:
    """The places of a packed sequence. Sizes: S shared, B rows, W longest row, R own tokens in all.

    Attributes:
        shared: S.
        lengths: [B] own tokens per row.
        starts: [B] where each row begins in the stream.
        mask: [B, W] bool, True where a padded row has a token.
    """

    shared: int
    lengths: Tensor
    starts: Tensor
    mask: Tensor
    _heads: dict[tuple[int, int], Heads] = field(default_factory=dict)
    _causal: dict[tuple[int, torch.dtype], Causal] = field(default_factory=dict)

    @classmethod
    def of(cls, shared: int, lengths: Tensor) -> Packing:
        """Rows of `lengths` [B] behind `shared` positions."""
        width = int(lengths.max())
        mask = torch.arange(width, device=lengths.device) < lengths[:, None]
        return cls(shared, lengths, shared + lengths.cumsum(0) - lengths, mask)

    @property
    def rows(self) -> int:
        """B."""
        return self.mask.shape[0]

    @property
    def width(self) -> int:
        """W."""
        return self.mask.shape[1]

    def positions(self) -> Tensor:
        """[1, N] every token's position in its own row, the shared part counted in."""
        device = self.mask.device
        place = torch.arange(self.width, device=device).expand_as(self.mask)
        own = self.shared + place[self.mask]
        return torch.cat([torch.arange(self.shared, device=device), own])[None]

    def heads(self, heads: int, kv_heads: int) -> Heads:
        """The gathers for `heads` query heads over `kv_heads` key heads."""
        known = self._heads.get((heads, kv_heads))
        if known is None:
            known = self._heads[heads, kv_heads] = self._gathers(heads, kv_heads)
        return known

    def causal(self, window: int, dtype: torch.dtype) -> Causal:
        """The masks for a sliding window of so many positions; 0 is no window."""
        known = self._causal.get((window, dtype))
        if known is None:
            place = torch.arange(self.shared + self.width, device=self.mask.device)
            ahead = place[None] - place[:, None]
            hidden = (ahead > 0) | (ahead <= -window) if window else ahead > 0
            bias = torch.zeros(hidden.shape, dtype=dtype, device=place.device)
            bias = bias.masked_fill(hidden, -torch.inf)
            first = bias[: self.shared, : self.shared]
            known = self._causal[window, dtype] = Causal(first, bias[self.shared :])
        return known

    def _gathers(self, heads: int, kv_heads: int) -> Heads:
        device, group = self.mask.device, heads // kv_heads
        total = int(self.lengths.sum())
        place = torch.zeros(self.mask.shape, dtype=torch.long, device=device)
        place[self.mask] = torch.arange(total, device=device)
        head = torch.arange(heads, device=device).view(kv_heads, 1, group, 1)
        queries = place[None, :, None, :] * heads + head  # [K, B, G, W]
        keys = place * kv_heads + torch.arange(kv_heads, device=device)[:, None, None]  # [K, B, W]
        real_queries = self.mask[None, :, None, :].expand_as(queries).flatten()
        return Heads(
            queries=queries.flatten(),
            keys=keys.flatten(),
            queries_back=_inverse(queries.flatten(), real_queries, total * heads),
            keys_back=_inverse(
                keys.flatten(), self.mask.expand_as(keys).flatten(), total * kv_heads
            ),
            padding=(~real_queries).nonzero().flatten(),
        )


def _inverse(index: Tensor, real: Tensor, size: int) -> Tensor:
    """Where among `index` each of `size` values stands; each is there once among the real ones."""
    back = torch.empty(size, dtype=torch.long, device=index.device)
    back[index[real]] = real.nonzero().flatten()
    return back
