"""The layout of a packed sequence: the shared prefix, then each row's own tokens.

    stream:  [ shared S | row 0 | row 1 | ... | row B-1 ]      N = S + sum of the rows' lengths

A row's token sees the shared part and its own row up to itself, as if it had been run alone. Every
layer but attention works token by token, so nothing in it is padded and nothing is run twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cuecard.backbones.kernels.trees import LaidTree


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
class Past:
    """Keys and values of each row's earlier tokens, computed before and not trained through.

    Attributes:
        lengths: [B] earlier tokens per row.
        layers: per layer, keys and values [K * B, T + room, D], filled up after each row's last.
        room: places at the end that attention writes the rows' own keys and values to.
    """

    lengths: Tensor
    layers: Sequence[tuple[Tensor, Tensor]]
    room: int = 0

    @property
    def width(self) -> int:
        """T."""
        return int(self.layers[0][0].shape[1]) - self.room


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of the beginnings of B rows: keys and values that need not be run again.

    Attributes:
        front: [L, 2, K, F, D] in front of all rows alike; None for none.
        own: each row's [L, 2, K, t, D] after that; empty for none.
        tokens: [B] how many of each row's tokens they are; None for none.
        prompt: whether the prompt's vectors are among them.
    """

    front: Tensor | None = None
    own: Sequence[Tensor] = ()
    tokens: Tensor | None = None
    prompt: bool = False


def past_of(found: Sequence[Tensor], device: torch.device, room: int = 0) -> Past:
    """Rows' keys and values [L, 2, K, t, D], of any lengths, as one past.

    Args:
        room: places left after every past for the row's own keys and values.
    """
    lengths = torch.tensor([row.shape[3] for row in found])
    width = int(lengths.max())
    layers, _, heads, _, size = found[0].shape
    shape = (layers, 2, heads, len(found), width + room, size)
    rows = torch.empty(shape, dtype=found[0].dtype, device=found[0].device)
    for number, row in enumerate(found):
        length = row.shape[3]
        rows[:, :, :, number, :length] = row
        rows[:, :, :, number, length:width] = 0
    kept = rows.to(device).flatten(2, 3)
    return Past(lengths.to(device), [(layer[0], layer[1]) for layer in kept], room)


@dataclass(frozen=True, slots=True)
class Causal:
    """What is added to scores: 0 where a key may be seen, -inf elsewhere.

    Attributes:
        first: [S, A + S] of the shared part, A keys being ahead of it.
        rows: [W, A + S + W] of a row's own tokens; [B, 1, W, A + S + T + W] where rows have a past,
            end in trees, or do not see the prefix from their first tokens on.
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
        past: what stands before each row instead of a shared part; S is 0 then.
        front: [L, 2, K, F, D] keys and values in front of everything, not trained through; with
            none F is 0.
        prefix: [L, 2, K, P, D] keys and values after those, trained through; with none P is 0.
        tree: where the tokens of rows that end in a tree stand; None for plain rows.
        unaware: [B] how many of a row's own first tokens do not see the prefix, and are where they
            would be without it; None for none. S is 0 then, and there is no past.
    """

    shared: int
    lengths: Tensor
    starts: Tensor
    mask: Tensor
    past: Past | None = None
    front: Tensor | None = None
    prefix: Tensor | None = None
    tree: LaidTree | None = None
    unaware: Tensor | None = None
    _heads: dict[tuple[int, int], Heads] = field(default_factory=dict)
    _causal: dict[tuple[int, torch.dtype], Causal] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        shared: int,
        lengths: Tensor,
        past: Past | None = None,
        *,
        front: Tensor | None = None,
        prefix: Tensor | None = None,
        tree: LaidTree | None = None,
        unaware: Tensor | None = None,
    ) -> Packing:
        """Rows of `lengths` [B] after `shared` positions, or each after its own past."""
        width = int(lengths.max())
        mask = torch.arange(width, device=lengths.device) < lengths[:, None]
        starts = shared + lengths.cumsum(0) - lengths
        return cls(shared, lengths, starts, mask, past, front, prefix, tree, unaware)

    @property
    def rows(self) -> int:
        """B."""
        return self.mask.shape[0]

    @property
    def width(self) -> int:
        """W."""
        return self.mask.shape[1]

    @property
    def prefixed(self) -> int:
        """P."""
        return 0 if self.prefix is None else int(self.prefix.shape[3])

    @property
    def ahead(self) -> int:
        """F + P, the keys in front of the stream."""
        return self.prefixed + (0 if self.front is None else int(self.front.shape[3]))

    @property
    def tokens(self) -> int:
        """S + R, the stream's length."""
        return self.shared + int(self.lengths.sum())

    def positions(self) -> Tensor:
        """[1, N] every token's position in its own row, all in front of it counted in."""
        device, place = self.mask.device, self._place()
        if self.past is not None:
            place = place + self.past.lengths[:, None]
        if self.unaware is not None:
            place = place - self.prefixed * (place < self.unaware[:, None])
        own = self.shared + place[self.mask]
        return self.ahead + torch.cat([torch.arange(self.shared, device=device), own])[None]

    def _place(self) -> Tensor:
        """[B, W] each token's place in its row, or in its own line of a tree."""
        if self.tree is not None:
            return self.tree.position
        return torch.arange(self.width, device=self.mask.device).expand_as(self.mask)

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
            seen = self.ahead + self.shared
            place = torch.arange(seen + self.width, device=self.mask.device)
            bias = _bias(place, place, window, dtype)
            plain = self.past is None and self.tree is None and self.unaware is None
            rows = bias[seen:] if plain else self._by_row(window, dtype)
            known = Causal(bias[self.ahead : seen, :seen], rows)
            self._causal[window, dtype] = known
        return known

    def _by_row(self, window: int, dtype: torch.dtype) -> Tensor:
        """[B, 1, W, A + S + T + W] what a row's own tokens see: keys of all, its past, its own."""
        device, seen = self.mask.device, self.ahead + self.shared
        own = seen + self._place()
        keys = [torch.arange(seen, device=device).expand(self.rows, -1)]
        if self.past is not None:
            lengths = self.past.lengths[:, None]
            before = torch.arange(self.past.width, device=device).expand(self.rows, -1)
            # What fills a short past up is put out of sight, after every token.
            keys.append((seen + before).masked_fill(before >= lengths, 2**31))
            own = own + lengths
        bias = _bias(own, torch.cat([*keys, own], 1), window, dtype)
        if self.unaware is not None:
            early = self._place() < self.unaware[:, None]
            prefix = bias[..., self.ahead - self.prefixed : self.ahead]
            prefix.masked_fill_(early[..., None], -torch.inf)
        if self.tree is not None:
            bias[..., -self.width :].masked_fill_(~self.tree.seen, -torch.inf)
        return bias[:, None]

    def _gathers(self, heads: int, kv_heads: int) -> Heads:
        device, group = self.mask.device, heads // kv_heads
        total = int(self.lengths.sum())
        # Padding repeats the row's own first token: another row's infinity would not stay its own.
        first = (self.starts - self.shared).clamp(max=max(total - 1, 0))
        place = first[:, None].repeat(1, self.width)
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


def _bias(queries: Tensor, keys: Tensor, window: int, dtype: torch.dtype) -> Tensor:
    """[..., Q, K] 0 or -inf, from positions [..., Q] and [..., K]."""
    ahead = keys[..., None, :] - queries[..., None]
    hidden = (ahead > 0) | (ahead <= -window) if window else ahead > 0
    zeros = torch.zeros(hidden.shape, dtype=dtype, device=queries.device)
    return zeros.masked_fill(hidden, -torch.inf)


def _inverse(index: Tensor, real: Tensor, size: int) -> Tensor:
    """Where among `index` each of `size` values stands; each is there once among the real ones."""
    back = torch.empty(size, dtype=torch.long, device=index.device)
    back[index[real]] = real.nonzero().flatten()
    return back
