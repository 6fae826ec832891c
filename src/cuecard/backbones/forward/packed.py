"""Run a batch as one packed sequence: the shared prefix once, then every row without padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor

from cuecard.backbones.forward.frozen import FrozenModel
from cuecard.backbones.forward.unpadded import UnpaddedRows, embed_rows, embed_shared, laid_tree
from cuecard.backbones.kernels.attention import NAME, PackedPart, Pass, UnpackableError, packed
from cuecard.backbones.kernels.fused import Finder, Fused
from cuecard.backbones.kernels.layer_tokens import PlacedLayerTokens, states_of, watching
from cuecard.backbones.kernels.norms import rms_norm
from cuecard.backbones.kernels.packing import Kept, Packing, past_of
from cuecard.backbones.kernels.positions import NOTHING_SHARED, Sharing
from cuecard.backbones.kernels.swiglu import gated_mlp
from cuecard.types import States

# Norms and gates whose gradients are written out.
FINDERS: tuple[Finder, ...] = (rms_norm, gated_mlp)


@dataclass(frozen=True, slots=True)
class Segment:
    """A batch laid out: its embeddings [N, H], their places, and where logits are read.

    Attributes:
        deep: vectors that layers take in at some places; None for none.
    """

    stream: Tensor
    packing: PackedPart
    at: Tensor
    deep: PlacedLayerTokens | None = None


class PackedRun:
    """Runs batches as packed sequences, with attention of our own.

    Args:
        finders: see `Fused`.
    """

    def __init__(self, frozen: FrozenModel, finders: Sequence[Finder] = FINDERS) -> None:
        self._frozen, self._finders = frozen, finders

    @cached_property
    def _fused(self) -> Fused:
        """Found out on the first run: a model that cannot be packed need not be tried."""
        return Fused(self._frozen.model, self._finders)

    def lay_out(self, rows: UnpaddedRows, kept: Kept | None = None) -> Segment:
        """What all rows share and is not kept, then what is left of every row."""
        kept = kept or Kept()
        rows, frozen = rows.after(kept), self._frozen
        # Sharing costs nothing here, but what stands behind different pasts is not the same.
        plan = NOTHING_SHARED if kept.own else rows.plan(worth=1)
        shared, deep = embed_shared(frozen.embed, rows, plan)
        embeds, mask, own = embed_rows(frozen.embed, rows, plan, "right")
        packing = Packing.of(
            shared.shape[1],
            mask.sum(1),
            past_of(kept.own, frozen.device, room=mask.shape[1]) if kept.own else None,
            front=kept.front,
            prefix=rows.given.prefix,
            tree=laid_tree(rows, plan),
            unaware=rows.slot if rows.given.late else None,
        )
        stream = torch.cat([shared[0], embeds[packing.mask]])
        at = packing.starts[rows.read_rows] + rows.reads(plan)
        return Segment(stream, packing, at, deep or _packed_places(own, packing))

    @torch.no_grad()
    def run_front(self, rows: UnpaddedRows, plan: Sharing) -> Tensor:
        """[L, 2, K, P + F, D] keys and values of what rows share, after those of their prefix."""
        prefix = rows.given.prefix
        stream, deep = embed_shared(self._frozen.embed, rows, plan)
        found = self._keys_and_values(stream[0], stream.shape[1:2], prefix, deep)
        return found if prefix is None else torch.cat([prefix.to(found.dtype), found], 3)

    def keys_and_values(
        self, inputs: Sequence[tuple[int, ...]], front: Tensor | None = None
    ) -> Tensor:
        """[L, 2, K, tokens, D] of inputs, each run alone behind a front, one after the other."""
        flat = [token for ids in inputs for token in ids]
        ids = torch.tensor(flat, dtype=torch.long, device=self._frozen.device)
        stream = torch.as_tensor(self._frozen.embed(ids))
        return self._keys_and_values(stream, [len(ids) for ids in inputs], front)

    @torch.no_grad()
    def _keys_and_values(
        self,
        stream: Tensor,
        lengths: Sequence[int],
        front: Tensor | None,
        deep: PlacedLayerTokens | None = None,
    ) -> Tensor:
        """[L, 2, K, N, D] of rows of these lengths in a stream [N, H]."""
        seen: list[tuple[Tensor, Tensor]] = []
        packing = Packing.of(0, torch.tensor(lengths, device=stream.device), front=front)
        self.at_reads([Segment(stream, packing, packing.starts[:0], deep)], seen)
        return torch.stack([torch.cat(layer) for layer in seen])

    @torch.no_grad()
    def states(self, vectors: Tensor) -> States:
        """What the layers make of vectors [T, H] alone."""
        kept: list[tuple[Tensor, Tensor]] = []
        packing = Packing.of(0, torch.tensor([len(vectors)], device=vectors.device))
        with watching(self._frozen.decoder_layers) as seen:
            self.at_reads([Segment(vectors, packing, packing.starts[:0])], kept)
        return states_of(vectors, seen, kept)

    def at_reads(
        self, segments: Sequence[Segment], seen: list[tuple[Tensor, Tensor]] | None = None
    ) -> Tensor:
        """What is at the segments' reads, one segment after the other, in one forward pass.

        Logits [N, V], or hidden states [N, H] while the model is set to keep those.

        Args:
            seen: gets every layer's keys and values.

        Raises:
            UnpackableError: the model asks of attention what a packed sequence does not give it.
        """
        frozen = self._frozen
        stream, positions, at = _joined(segments)
        packings = [segment.packing for segment in segments]
        with (
            self._ready(packings, seen) as layers,
            frozen.read_at(at * 0, at),
            frozen.replacing(_joined_deep(segments)),
        ):
            found = frozen.call(
                stream[None],
                lambda place: self._ready(packings, first=place),
                position_ids=positions,
                use_cache=False,
            )
        if layers.count != frozen.layers:
            raise UnpackableError(f"{layers.count} of {frozen.layers} layers asked for attention")
        return frozen.at_reads(found)

    @contextmanager
    def _ready(
        self,
        packings: Sequence[PackedPart],
        seen: list[tuple[Tensor, Tensor]] | None = None,
        first: int = 0,
    ) -> Iterator[Pass]:
        """The model runs packed sequences, from layer `first` on, with modules of ours."""
        frozen = self._frozen
        frozen.set_attention(NAME)
        try:
            with packed(*packings, seen=seen, first=first) as layers, self._fused.running():
                yield layers
        finally:
            # The model is the caller's too, and knows nothing of packing.
            frozen.set_attention(frozen.own_attention)


def _packed_places(deep: PlacedLayerTokens | None, packing: Packing) -> PlacedLayerTokens | None:
    """Places in padded rows [B, W] as places in the stream."""
    if deep is None:
        return None
    stream = packing.shared + packing.mask.flatten().cumsum(0) - 1
    return PlacedLayerTokens(deep.layers, stream[deep.at], deep.index)


def _joined_deep(segments: Sequence[Segment]) -> list[PlacedLayerTokens]:
    """Every segment's layer vectors at their places in the one stream."""
    starts = accumulate((len(segment.stream) for segment in segments), initial=0)
    pairs = zip(segments, starts, strict=False)
    return [segment.deep.behind(start) for segment, start in pairs if segment.deep is not None]


def _joined(segments: Sequence[Segment]) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings [N, H], positions [1, N] and reads of the segments as one stream."""
    if len(segments) == 1:
        (only,) = segments
        return only.stream, only.packing.positions(), only.at
    starts = [0, *accumulate(len(segment.stream) for segment in segments)]
    return (
        torch.cat([segment.stream for segment in segments]),
        torch.cat([segment.packing.positions() for segment in segments], 1),
        torch.cat([segment.at + start for segment, start in zip(segments, starts, strict=False)]),
    )
