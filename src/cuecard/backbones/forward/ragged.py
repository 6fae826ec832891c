"""Run rows with different prompts in one pass, each after its own cached keys and values.

What serving runs: chunks of rows (the beginning, the middle or the end of one), each after
what is known of its row already, beside the next tokens of rows that are being written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
class LayerVectors:
    """Vectors of a `LayerTokens` among a chunk's tokens.

    Attributes:
        layers: [L, p, H] those that stand in the chunk.
        at: the place of the first one, counted from the chunk's first token.
    """

    layers: Tensor
    at: int


@dataclass(frozen=True, slots=True)
class PrefillChunk:
    """Tokens of one row that are run now.

    Attributes:
        embeds: [n, H], one or more.
        past: keys and values [L, 2, K, t, D] of what comes before them, piece after piece.
        reads: which of the n tokens' logits are read.
        branches: per continuation at the end, its tokens; they do not see each other.
        layer_vectors: vectors that layers take in; None for none.
        states: whether hidden states are read instead of logits.
    """

    embeds: Tensor
    past: tuple[Tensor, ...] = ()
    reads: tuple[int, ...] = ()
    branches: tuple[int, ...] = ()
    layer_vectors: LayerVectors | None = None
    states: bool = False

    @property
    def before(self) -> int:
        """How many tokens the past has."""
        return sum(piece.shape[3] for piece in self.past)


@dataclass(frozen=True, slots=True)
class PassOutput:
    """What a pass left.

    Attributes:
        decoded: per block, logits [n, V] of its live rows.
        read: per chunk, logits [reads, V] or hidden states [reads, H].
    """

    decoded: list[Tensor]
    read: list[Tensor]
    _seen: list[tuple[Tensor, Tensor]]
    _starts: list[int]

    def keys_values(self, chunk: int, start: int, end: int) -> Tensor:
        """[L, 2, K, end - start, D] of some of a chunk's tokens."""
        begin = self._starts[chunk]
        cut = slice(begin + start, begin + end)
        pairs = [torch.stack([keys[0, :, cut], values[0, :, cut]]) for keys, values in self._seen]
        return torch.stack(pairs)


class RaggedRun:
    """Runs chunks and blocks together.

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

    def mixed(self, ids: Sequence[int], given: Injected) -> Injected:
        """A prompt as it is for one context, which it may depend on."""
        if given.mix is None:
            return given
        embeds = torch.as_tensor(
            self._frozen.embed(torch.tensor([ids], device=self._frozen.device))
        )
        found = given.mixed(embeds, torch.ones(embeds.shape[:2], device=embeds.device).bool())
        assert found.each is not None
        return replace(found, vectors=found.each[0], mix=None, each=None)

    def block(self, rows: int, capacity: int) -> Block:
        """Room for rows that are written."""
        return Block(self.shape, rows, capacity, self._frozen.device)

    @torch.inference_mode()
    def run(
        self, blocks: Sequence[tuple[Block, Tensor]], chunks: Sequence[PrefillChunk], keep: bool
    ) -> PassOutput:
        """One forward pass.

        Args:
            blocks: with live rows, each with their next tokens' embeddings [n, H]; the rows are
                one token longer afterwards.
            keep: whether the chunks' keys and values will be asked for.
        """
        segments = []
        self._room.clear()
        for block, embeds in blocks:
            every = torch.arange(len(embeds), device=embeds.device)
            segments.append(Segment(embeds, block.step(), every))
        first = sum(len(segment.stream) for segment in segments)
        starts, order = [0] * len(chunks), []
        for part in _by_length(chunks):
            chosen = [chunks[number] for number in part]
            segments.append(self._segment(chosen))
            ends = accumulate((len(s.embeds) for s in chosen), initial=first)
            for number, start in zip(part, ends, strict=False):
                starts[number] = start
            first += len(segments[-1].stream)
            order += part
        seen: list[tuple[Tensor, Tensor]] = []
        with self._frozen.seeing_hidden() as hidden:
            logits = self._packed.at_reads(segments, seen if keep else None)
        self._frozen.counts["logits"] += len(logits)
        for block, _ in blocks:
            block.grown()
        sizes = [len(embeds) for _, embeds in blocks]
        sizes += [len(chunks[number].reads) for number in order]
        cut = torch.split(logits, sizes)
        read = dict(zip(order, cut[len(blocks) :], strict=True))
        if any(chunk.states for chunk in chunks):
            states = torch.split(torch.cat(hidden), sizes)[len(blocks) :]
            pairs = zip(order, states, strict=True)
            read |= {number: found for number, found in pairs if chunks[number].states}
        return PassOutput(
            list(cut[: len(blocks)]), [read[n] for n in range(len(chunks))], seen, starts
        )

    def _segment(self, chunks: Sequence[PrefillChunk]) -> Segment:
        device = self._frozen.device
        lengths = [len(chunk.embeds) for chunk in chunks]
        pairs = list(zip(chunks, accumulate(lengths, initial=0), strict=False))
        rows = RaggedRows(
            self._values(chunks),
            torch.tensor([chunk.before for chunk in chunks], device=device),
            torch.tensor(lengths, device=device),
            _branches(chunks),
        )
        at = [start + read for chunk, start in pairs for read in chunk.reads]
        stream = torch.cat([chunk.embeds for chunk in chunks])
        return Segment(stream, rows, torch.tensor(at, device=device).long(), _layer_tokens(pairs))

    def _values(self, chunks: Sequence[PrefillChunk]) -> Tensor:
        """[L, 2, B, K, U, D] what stands before each chunk, with room for its own after it."""
        shape = self.shape
        longest = max(chunk.before + len(chunk.embeds) for chunk in chunks)
        size = (shape.layers, 2, len(chunks), shape.heads, longest, shape.size)
        values = self._room.take(size)
        for row, chunk in enumerate(chunks):
            start = 0
            for piece in chunk.past:
                end = start + piece.shape[3]
                values[:, :, row, :, start:end] = piece
                start = end
            # A key that is hidden must still be finite.
            values[:, :, row, :, start + len(chunk.embeds) :] = 0
        return values


def _by_length(chunks: Sequence[PrefillChunk]) -> list[list[int]]:
    """The chunks of each segment: those of similar length."""
    parts: list[list[int]] = []
    widest = 0
    for number in sorted(range(len(chunks)), key=lambda n: -len(chunks[n].embeds)):
        length = len(chunks[number].embeds)
        if not parts or (widest > _ANY_WIDTH and length * 2 < widest):
            parts.append([])
            widest = length
        parts[-1].append(number)
    return parts


def _branches(chunks: Sequence[PrefillChunk]) -> Branches | None:
    """Where continuations stand; None if there are none."""
    if not any(chunk.branches for chunk in chunks):
        return None
    place: list[int] = []
    number: list[int] = []
    for chunk in chunks:
        trunk = len(chunk.embeds) - sum(chunk.branches)
        place += range(trunk)
        number += [0] * trunk
        for branch, length in enumerate(chunk.branches, start=1):
            place += range(trunk, trunk + length)
            number += [branch] * length
    device = chunks[0].embeds.device
    return Branches(torch.tensor(place, device=device), torch.tensor(number, device=device))


def _layer_tokens(pairs: Sequence[tuple[PrefillChunk, int]]) -> PlacedLayerTokens | None:
    """All chunks' layer vectors at their places in the stream."""
    found = [
        (chunk.layer_vectors, start) for chunk, start in pairs if chunk.layer_vectors is not None
    ]
    if not found:
        return None
    layers = torch.cat([layer_vectors.layers for layer_vectors, _ in found], 1)
    at = [
        start + layer_vectors.at + number
        for layer_vectors, start in found
        for number in range(layer_vectors.layers.shape[1])
    ]
    index = torch.arange(len(at), device=layers.device)
    return PlacedLayerTokens(layers, torch.tensor(at, device=layers.device), index)
