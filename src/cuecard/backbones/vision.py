"""Vision encoders: any transformers model of ViT's shape.

A row is an image. A prompt's vectors stand after the class token, in front of the patches, with no
position of their own: among the first layer's input (Jia et al. 2022, "VPT-Shallow") or anew at
every layer's ("VPT-Deep"). What a head reads is the class token's last state, or the mean over the
patches where the model has no such token. What the first layer takes in of an image no prompt can
change: it is computed once and kept, as long as there is room.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from cuecard.backbones.base import FrozenBackbone
from cuecard.backbones.families import FAMILIES, Family
from cuecard.backbones.fingerprint import vision_fingerprint_of
from cuecard.backbones.forward.image_cache import BLANK, ImageCache, images_of
from cuecard.backbones.forward.injected import Widths, injected
from cuecard.backbones.forward.patch_sample import PatchSample
from cuecard.backbones.forward.prefix_probe import keeping, key_shape
from cuecard.backbones.forward.reads import BatchReads
from cuecard.backbones.forward.vision_tower import (
    VisionRows,
    VisionTower,
    patch_layer,
    patch_table,
)
from cuecard.backbones.image_processor import ImageProcessor
from cuecard.backbones.kernels.layer_tokens import states_of
from cuecard.types import (
    Batch,
    Fingerprint,
    Image,
    Injection,
    InjectionKind,
    KeptReads,
    LayerTokens,
    PrefixKV,
    ReadKind,
    States,
    Tower,
)


class VisionBackbone(FrozenBackbone):
    """A frozen vision encoder.

    Args:
        model: any transformers vision encoder of ViT's shape; its parameters are frozen here.
        processor: its image processor.
        name: what the user called it.

    Attributes:
        processor: the same.
        kept: what the first layer takes in of images.

    Raises:
        BackboneError: a model that makes no patches.
    """

    family: ClassVar[Family] = FAMILIES["vision"]

    def __init__(self, model: torch.nn.Module, processor: ImageProcessor, name: str) -> None:
        self._patches = patch_layer(model, name)
        self.processor = processor
        processor.positions_of = lambda: self.tower.positions
        super().__init__(model, processor, name, headless=True, embed=self._patches)
        self.kept = ImageCache()
        self._sample: tuple[tuple[tuple[Image, ...], int], PatchSample] | None = None

    @cached_property
    def tower(self) -> VisionTower:
        """The model's parts.

        Raises:
            BackboneError: a model of another shape.
        """
        with torch.inference_mode(False):  # what it keeps serves training too
            return VisionTower(self._frozen, self._pixels([BLANK]), self.name)

    def unsupported(self, kind: InjectionKind, tower: Tower = "text") -> str | None:
        """Why this model does not take a kind of injection; None if it does."""
        reason = super().unsupported(kind, tower)
        if reason is None and kind == "prefix-kv":
            found = self.tower.key_shape
            return found if isinstance(found, str) else None
        return reason

    @property
    def key_shape(self) -> tuple[int, int]:
        """K key heads and their size D.

        Raises:
            BackboneError: nothing can stand in front of the model's keys and values.
        """
        return key_shape(self.tower.key_shape, self.name)

    def unreadable(self, kind: ReadKind) -> str | None:
        """Why this model cannot be read in this way; None if it can."""
        return None if kind in self.reads else "a vision encoder says no words"

    def read_many(
        self, parts: Sequence[tuple[Batch, Injection | None]], *, keep: KeptReads = "logits"
    ) -> list[BatchReads]:
        """The images' states, which is all there is.

        Raises:
            BackboneError: a row with no image or several, or a text.
        """
        embedded = iter(self._embedded(images_of(batch for batch, _ in parts)))
        rows = []
        for batch, injection in parts:
            own = torch.stack([next(embedded) for _ in range(len(batch))])
            rows.append(self._rows(own, injection))
        each = zip(parts, self.tower.run(rows), strict=True)
        return [
            BatchReads(states[batch.read_rows.to(self.device)], hidden=True)
            for (batch, _), states in each
        ]

    def states(self, vectors: Tensor) -> States:
        """What the layers make of vectors [T, H] alone, float32 and without gradients."""
        vectors = vectors.to(self.device, self.dtype)
        kept: list[tuple[Tensor, Tensor]] = []
        with self._frozen.uncounted():
            if isinstance(self.tower.key_shape, str):
                seen = self.tower.through(vectors)
            else:
                seen, running = keeping(self._frozen, lambda: self.tower.through(vectors))
                kept = running.keys_values
        return states_of(vectors, [hidden[None] for hidden in seen], kept)

    def patches_of(self, images: Sequence[Image], seed: int) -> PatchSample:
        """What the layers make of these images' patches; the last ones' are kept."""
        key = tuple(images), seed
        if self._sample is None or self._sample[0] != key:
            sample = PatchSample(self._frozen, self.tower, self._embedded, images, seed, self.name)
            self._sample = key, sample
        return self._sample[1]

    def prompt_attention(self, images: Sequence[Image], injection: Injection, layer: int) -> Tensor:
        """[B, P, h, w] float32 a layer's attention between a prompt and each patch, on the CPU.

        From the prompt's vectors to the patches; of keys in front, from the patches to them. The
        mean over the heads.

        Args:
            layer: its number, from 0.

        Raises:
            BackboneError: an attention of the encoder's own.
        """
        rows = self._rows(torch.stack(self._embedded(images)), injection)
        found = self.tower.attention(rows, layer).mean(2)
        return found.reshape(*found.shape[:2], *self.tower.grid).cpu()

    def shown(self, images: Sequence[Image]) -> Tensor:
        """[B, h, w, C] float32 from 0 to 1: images as the model is given them."""
        return self.processor.plain(self.processor.pixels(images))

    @cached_property
    def embeddings(self) -> Tensor:
        """[C * p * p, H] what each number of a patch adds to its embedding."""
        return patch_table(self._patches)

    @property
    def typical_inputs(self) -> Tensor:
        """[S, H] what the first layer takes in of a blank image, its positions added."""
        return self.tower.inputs

    @property
    def tower_embeddings(self) -> Mapping[Tower, Tensor]:
        """The same, for its one tower; a prompt of one piece goes there."""
        return {"text": self.embeddings, "vision": self.embeddings}

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """What a prompt trained here needs to find again, the image processor's settings too."""
        return vision_fingerprint_of(
            self.model, patch_table(self._patches), self.processor.digest, self.tower.uses
        )

    def _rows(self, embedded: Tensor, injection: Injection | None) -> VisionRows:
        piece = self._pieces(injection).get("vision")
        widths = Widths(self.num_layers, self.hidden_size)
        if isinstance(piece, LayerTokens):  # later layers may do without
            widths = Widths(min(len(piece.vectors), self.num_layers), self.hidden_size)
        if isinstance(piece, PrefixKV):
            widths = Widths(self.num_layers, self.hidden_size, *self.key_shape)
        given = injected(piece, widths, self.device, self.dtype, self.name)
        return VisionRows(embedded, given.vectors, given.layers, given.prefix)

    def _embedded(self, images: Sequence[Image]) -> list[Tensor]:
        """[S, H] what the first layer takes in for each image; what is kept is not computed."""
        return self._made_once(images, "", self.tower.embed)

    def _made_once(
        self, images: Sequence[Image], what: str, make: Callable[[Tensor], Tensor]
    ) -> list[Tensor]:
        """What is made of each image's pixels; what is kept is not computed.

        Args:
            what: tells apart what is made of one image.
        """
        each, known = self.kept.get(images, lambda new: make(self._pixels(new)), what)
        self.counts["remembered"] += known * self.tower.positions
        return each

    def _pixels(self, images: Sequence[Image]) -> Tensor:
        return self.processor.pixels(images).to(self.device, self.dtype)
