"""Run rows with different prompts in one pass, each after its own cached keys and values.

What serving runs: stretches of rows (the beginning, the middle or the end of one), each behind
what is known of its row already, beside the next tokens of rows that are being written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from cuecard.backbones.forward.frozen import FrozenModel
from cuecard.backbones.forward.injected import Injected
from cuecard.backbones.forward.packed import FINDERS, PackedRun, Segment
from cuecard.backbones.kernels.decoding import Block
from cuecard.backbones.kernels.input_cache import Shape
from cuecard.backbones.kernels.layer_tokens import PlacedLayerTokens
from cuecard.backbones.kernels.prepacked import nbytes, prepacked
from cuecard.backbones.kernels.ragged_rows import Branches, RaggedRows
from cuecard.backbones.kernels.scratch import ScratchBuffer

# Rows in one part of a pass are padded to the longest, in attention alone; below this they may
# differ as they like, and above it by half.
_ANY_WIDTH = 32


@dataclass(frozen=True, slots=True)
class Inlaid:
    """Vectors of a `LayerTokens` among a stretch's tokens.

    Attributes:
        layers: [L, p, H] those that stand in the stretch.
        at: the place of the first one, counted from the stretch's first token.
    """

    layers: Tensor
    at: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """Tokens of one row that are run now.

    Attributes:
        embeds: [n, H], one or more.
        past: keys and values [L, 2, K, t, D] of what comes before them, piece after piece.
        reads: which of the n tokens' logits are read.
        branches: per continuation at the end, its tokens; they do not see each other.
        inlaid: vectors that layers take in; None for none.
    """

    embeds: Tensor
    past: tuple[Tensor, ...] = ()
    reads: tuple[int, ...] = ()
    branches: tuple[int, ...] = ()
    inlaid: Inlaid | None = None

    @property
    def before(self) -> int:
        """How many tokens the past has."""
        return sum(piece.shape[3] for piece in self.past)


@dataclass(frozen=True, slots=True)
class Ran:
    """What a pass left.

    Attributes:
        decoded: per block, logits [n, V] of its live rows.
        read: per stretch, logits [reads, V].
    """

    decoded: list[Tensor]
    read: list[Tensor]
    _seen: list[tuple[Tensor, Tensor]]
    _starts: list[int]

    def keys_values(self, stretch: int, start: int, end: int) -> Tensor:
        """[L, 2, K, end - start, D] of some of a stretch's tokens."""
        begin = self._starts[stretch]
        cut = slice(begin + start, begin + end)
        pairs = [torch.stack([keys[0, :, cut], values[0, :, cut]]) for keys, values in self._seen]
        return torch.stack(pairs)


class RaggedRun:
    """Runs stretches and blocks together.

    Args:
        shape: of keys and values per token.
    """

    def __init__(self, frozen: FrozenModel, packed: PackedRun, shape: Shape) -> None:
        self._frozen, self._packed, self.shape = frozen, packed, shape
        self._room = ScratchBuffer(shape.dtype, frozen.device)

    def prepack(self, limit: int) -> bool:
        """Lay a copy of the weights out as the processor's products read them.

        Args:
            limit: bytes; nothing is done if the copy takes more.

        Returns:
            Whether there is a copy now.
        """
        if not 0 < nbytes(self._frozen.model) <= limit:
            return False
        self._packed = PackedRun(self._frozen, (*FINDERS, prepacked))
        return True

    def embed(self, ids: Sequence[int], given: Injected, place: int = 0) -> Tensor:
        """[n, H] tokens that stand from `place` on in their row, shifted as the injection says."""
        device = self._frozen.device
        found = torch.as_tensor(self._frozen.embed(torch.tensor(ids, device=device).long()))
        shifted = 0 if given.shifts is None else min(len(given.shifts) - place, len(ids))
        if given.shifts is not None and shifted > 0:
            found = found.clone()
            found[:shifted] += given.shifts[place : place + shifted]
        return found

    def block(self, rows: int, capacity: int) -> Block:
        """Room for rows that are written."""
        return Block(self.shape, rows, capacity, self._frozen.device)

    @torch.inference_mode()
    def run(
        self, blocks: Sequence[tuple[Block, Tensor]], stretches: Sequence[Stretch], keep: bool
    ) -> Ran:
        """One forward pass.

        Args:
            blocks: with live rows, each with their next tokens' embeddings [n, H]; the rows are
                one token longer afterwards.
            keep: whether the stretches' keys and values will be asked for.
        """
        segments = []
        self._room.clear()
        for block, embeds in blocks:
            every = torch.arange(len(embeds), device=embeds.device)
            segments.append(Segment(embeds, block.step(), every))
        first = sum(len(segment.stream) for segment in segments)
        starts, order = [0] * len(stretches), []
        for part in _injected(stretches):
            chosen = [stretches[number] for number in part]
            segments.append(self._segment(chosen))
            ends = accumulate((len(s.embeds) for s in chosen), initial=first)
            for number, start in zip(part, ends, strict=False):
                starts[number] = start
            first += len(segments[-1].stream)
            order += part
        seen: list[tuple[Tensor, Tensor]] = []
        logits = self._packed.at_reads(segments, seen if keep else None)
        self._frozen.counts["logits"] += len(logits)
        for block, _ in blocks:
            block.grown()
        sizes = [len(embeds) for _, embeds in blocks]
        sizes += [len(stretches[number].reads) for number in order]
        cut = torch.split(logits, sizes)
        read = dict(zip(order, cut[len(blocks) :], strict=True))
        return Ran(list(cut[: len(blocks)]), [read[n] for n in range(len(stretches))], seen, starts)

    def _segment(self, stretches: Sequence[Stretch]) -> Segment:
        device = self._frozen.device
        lengths = [len(stretch.embeds) for stretch in stretches]
        pairs = list(zip(stretches, accumulate(lengths, initial=0), strict=False))
        rows = RaggedRows(
            self._values(stretches),
            torch.tensor([stretch.before for stretch in stretches], device=device),
            torch.tensor(lengths, device=device),
            _branches(stretches),
        )
        at = [start + read for stretch, start in pairs for read in stretch.reads]
        stream = torch.cat([stretch.embeds for stretch in stretches])
        return Segment(stream, rows, torch.tensor(at, device=device).long(), _deep(pairs))

    def _values(self, stretches: Sequence[Stretch]) -> Tensor:
        """[L, 2, B, K, U, D] what stands before each stretch, with room for its own behind it."""
        shape = self.shape
        longest = max(stretch.before + len(stretch.embeds) for stretch in stretches)
        size = (shape.layers, 2, len(stretches), shape.heads, longest, shape.size)
        values = self._room.take(size)
        for row, stretch in enumerate(stretches):
            start = 0
            for piece in stretch.past:
                end = start + piece.shape[3]
                values[:, :, row, :, start:end] = piece
                start = end
            # A key that is hidden must still be finite.
            values[:, :, row, :, start + len(stretch.embeds) :] = 0
        return values


def _injected(stretches: Sequence[Stretch]) -> list[list[int]]:
    """Which stretches stand in one part: those of similar length."""
    parts: list[list[int]] = []
    widest = 0
    for number in sorted(range(len(stretches)), key=lambda n: -len(stretches[n].embeds)):
        length = len(stretches[number].embeds)
        if not parts or (widest > _ANY_WIDTH and length * 2 < widest):
            parts.append([])
            widest = length
        parts[-1].append(number)
    return parts


def _branches(stretches: Sequence[Stretch]) -> Branches | None:
    """Where continuations stand; None if there are none."""
    if not any(stretch.branches for stretch in stretches):
        return None
    place: list[int] = []
    number: list[int] = []
    for stretch in stretches:
        trunk = len(stretch.embeds) - sum(stretch.branches)
        place += range(trunk)
        number += [0] * trunk
        for branch, length in enumerate(stretch.branches, start=1):
            place += range(trunk, trunk + length)
            number += [branch] * length
    device = stretches[0].embeds.device
    return Branches(torch.tensor(place, device=device), torch.tensor(number, device=device))


def _deep(pairs: Sequence[tuple[Stretch, int]]) -> PlacedLayerTokens | None:
    """All stretches' layer vectors at their places in the stream."""
    found = [(stretch.inlaid, start) for stretch, start in pairs if stretch.inlaid is not None]
    if not found:
        return None
    layers = torch.cat([inlaid.layers for inlaid, _ in found], 1)
    at = [
        start + inlaid.at + number
        for inlaid, start in found
        for number in range(inlaid.layers.shape[1])
    ]
    index = torch.arange(len(at), device=layers.device)
    return PlacedLayerTokens(layers, torch.tensor(at, device=layers.device), index)
