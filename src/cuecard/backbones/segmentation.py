"""Promptable segmentation models: a vision encoder, a prompt encoder and a mask decoder, as in SAM.

A row is an image with points and boxes, or none (Kirillov et al., "Segment Anything", ICCV 2023).
A prompt's vectors are more tokens for the mask decoder, in front of those that the prompt encoder
makes of the row's points and boxes; a row with neither is asked for what is in the box of the whole
image. What is read are the logits of the first mask, the one that the model gives where it is asked
for one. What the vision encoder makes of an image no prompt can change: it is computed once and
kept, as long as there is room. A forward pass is the mask decoder's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cuecard.backbones.base import FrozenBackbone
from cuecard.backbones.families import FAMILIES, Family
from cuecard.backbones.fingerprint import segmentation_fingerprint_of
from cuecard.backbones.forward.image_cache import BLANK, ImageCache, images_of
from cuecard.backbones.forward.injected import Widths, injected
from cuecard.backbones.forward.reads import BatchReads
from cuecard.backbones.image_processor import MaskProcessor
from cuecard.errors import BackboneError
from cuecard.types import (
    Batch,
    Fingerprint,
    Image,
    Injection,
    KeptReads,
    Region,
    Tower,
)

_SPREAD = 16  # points to a side of the grid that stands in for a vocabulary


class SegmentationBackbone(FrozenBackbone):
    """A frozen promptable segmentation model.

    Args:
        model: a transformers model made of such parts; its parameters are frozen here.
        processor: its image processor.
        name: what the user called it.

    Attributes:
        processor: the same.
        kept: what the vision encoder makes of images.

    Raises:
        BackboneError: a model that is not made of these parts alone.
    """

    family: ClassVar[Family] = FAMILIES["segmentation"]

    def __init__(self, model: nn.Module, processor: MaskProcessor, name: str) -> None:
        self.processor, self.kept = processor, ImageCache()
        decoder = _part(model, "mask_decoder", name)
        self._points = _part(model, "prompt_encoder", name)
        embed = _part(self._points, "not_a_point_embed", name)
        sizes = getattr(model.config, "mask_decoder_config", None)
        if not hasattr(sizes, "num_hidden_layers"):
            raise _other_shape(model, name, "no mask_decoder_config")
        super().__init__(model, processor, name, headless=True, embed=embed, config=sizes)
        self._decoder = decoder
        self.vocab_size = _SPREAD * _SPREAD
        try:
            with self._frozen.uncounted():
                self._take_apart()
        except (LookupError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            told = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise _other_shape(model, name, told[:200]) from error

    def read_many(
        self, parts: Sequence[tuple[Batch, Injection | None]], *, keep: KeptReads = "logits"
    ) -> list[BatchReads]:
        """The images' mask logits, which is all there is: [N, C] over the grid, row by row.

        Rows with as many tokens share a pass, whosever prompts they have.

        Raises:
            BackboneError: a row with no image or several, or a text.
        """
        images = images_of((batch for batch, _ in parts), self.family)
        embedded, remembered = self.kept.get(images, self._embed)
        self.counts["remembered"] += remembered
        sparse = [tokens for batch, injection in parts for tokens in self._sparse(batch, injection)]
        found: dict[int, Tensor] = {}
        for count in sorted({len(tokens) for tokens in sparse}):
            rows = [row for row, tokens in enumerate(sparse) if len(tokens) == count]
            some = torch.stack([embedded[row] for row in rows])
            masks = self._decode(some, torch.stack([sparse[row] for row in rows]))
            found |= zip(rows, masks, strict=True)
        logits = iter(found[row] for row in range(len(sparse)))
        each = [torch.stack([next(logits) for _ in range(len(batch))]) for batch, _ in parts]
        return [
            BatchReads(masks[batch.read_rows.to(self.device)])
            for (batch, _), masks in zip(parts, each, strict=True)
        ]

    @cached_property
    def embeddings(self) -> Tensor:
        """[V, H] what the prompt encoder makes of points in the part, spread over the image."""
        side = self.processor.side
        steps = ((torch.arange(_SPREAD) + 0.5) * side / _SPREAD).tolist()
        points = [(x, y, 1) for y in steps for x in steps]
        with torch.inference_mode(False), torch.no_grad():
            return self._of_points(points, [])[: len(points)].float()

    @property
    def tower_embeddings(self) -> Mapping[Tower, Tensor]:
        """The same, for its one tower; a prompt of one piece goes there."""
        return {"text": self.embeddings, "mask-decoder": self.embeddings}

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """What a prompt trained here needs to find again, the image processor's settings too."""
        return segmentation_fingerprint_of(self.model, self.embeddings, self.processor.digest)

    def _embed(self, images: Sequence[Image]) -> list[Tensor]:
        """[H, g, g] what the vision encoder makes of each image, run alone."""
        made = []
        with torch.inference_mode(False), torch.no_grad():  # what is kept serves training too
            for image in images:
                pixels = self.processor.pixels([image]).to(self.device, self.dtype)
                made.append(self.model.get_image_embeddings(pixels)[0])
        return made

    def _sparse(self, batch: Batch, injection: Injection | None) -> list[Tensor]:
        """[T, H] the tokens of each row: the prompt's, and those of its points and boxes."""
        piece = self._pieces(injection).get("mask-decoder")
        widths = Widths(self.num_layers, self.hidden_size)
        vectors = injected(piece, widths, self.device, self.dtype, self.name).vectors
        regions = batch.regions or (None,) * len(batch)
        own = {region: self._of_region(region, alone=not len(vectors)) for region in {*regions}}
        return [torch.cat([vectors, own[region]]) for region in regions]

    def _of_region(self, region: Region | None, *, alone: bool) -> Tensor:
        """[T, H] the tokens of a row's points and boxes.

        Args:
            alone: whether there is no other token, so that a row without any gets a box.
        """
        side = float(self.processor.side)
        if region is None:
            return self._of_points([], [(0.0, 0.0, side, side)] if alone else [])
        frame = region.frame
        down, across = frame.seen[0] / frame.height, frame.seen[1] / frame.width
        points = [(x * across, y * down, label) for x, y, label in region.points]
        boxes = [(a * across, b * down, c * across, d * down) for a, b, c, d in region.boxes]
        if alone and not points and not boxes:
            boxes = [(0.0, 0.0, float(frame.seen[1]), float(frame.seen[0]))]
        return self._of_points(points, boxes)

    def _of_points(
        self,
        points: Sequence[tuple[float, float, int]],
        boxes: Sequence[tuple[float, float, float, float]],
    ) -> Tensor:
        """[T, H] what the prompt encoder makes of points and boxes in the model's input."""
        rows = [torch.zeros(0, self.hidden_size, device=self.device, dtype=self.dtype)]
        with torch.no_grad():
            for number, box in enumerate([*boxes] or [None] * bool(points)):
                # All points go with the first box: that is what the model was trained on.
                given = points if number == 0 else ()
                found, _ = self._points(
                    input_points=self._tensor([[[x, y] for x, y, _ in given]]) if given else None,
                    input_labels=torch.tensor([[[p[2] for p in given]]], device=self.device)
                    if given
                    else None,
                    input_boxes=None if box is None else self._tensor([[*box]]),
                    input_masks=None,
                )
                rows.append(found[0, 0].to(self.dtype))
        return torch.cat(rows)

    def _tensor(self, numbers: Any) -> Tensor:
        return torch.tensor([numbers], device=self.device, dtype=torch.float32)

    def _decode(self, embedded: Tensor, sparse: Tensor) -> Tensor:
        """[B, C] mask logits of images [B, H, g, g] at tokens [B, T, H]."""
        masks, _ = self._decoder(
            image_embeddings=embedded,
            image_positional_embeddings=self._positions.expand(len(embedded), -1, -1, -1),
            sparse_prompt_embeddings=sparse[:, None],
            dense_prompt_embeddings=self._dense,
            multimask_output=False,
        )
        counted = self._frozen.counts
        counted["calls"] += 1
        counted["tokens"] += len(embedded) * (embedded.shape[2] * embedded.shape[3])
        flat: Tensor = masks[:, 0, 0].flatten(1)
        return flat

    def _take_apart(self) -> None:
        """Run the model on a blank image, and its parts as they are run here.

        Raises:
            ValueError: these do not give what the model gives.
        """
        with torch.inference_mode(False):
            self._positions = self.model.get_image_wide_positional_embeddings().detach()
            _, dense = self._points(
                input_points=None, input_labels=None, input_boxes=None, input_masks=None
            )
            self._dense = dense.detach()
            point = self._tensor([[[3.0, 5.0]]])
            pixels = self.processor.pixels([BLANK]).to(self.device, self.dtype)
            whole = self.model(pixel_values=pixels, input_points=point, multimask_output=False)
            embedded = self.model.get_image_embeddings(pixels)
            ours = self._decode(embedded, self._of_points([(3.0, 5.0, 1)], [])[None])
        masks = whole.pred_masks
        if pixels.shape[-2:] != (self.processor.side,) * 2 or masks.shape[-1] != masks.shape[-2]:
            raise ValueError(f"pixels {tuple(pixels.shape)}, masks {tuple(masks.shape)}")
        if not self._frozen.agrees(ours, masks[:, 0, 0].flatten(1)):
            raise ValueError("its parts do not make its masks alone")
        self.processor.grid = masks.shape[-1]
        count = embedded.shape[-1] * embedded.shape[-2]
        self.processor.positions_of = lambda: count


def _part(model: Any, name: str, backbone: str) -> Any:
    found = getattr(model, name, None)
    if not isinstance(found, nn.Module):
        raise _other_shape(model, backbone, f"no {name}")
    return found


def _other_shape(model: Any, name: str, got: str) -> BackboneError:
    return BackboneError(
        "this model cannot be used as a segmentation backbone",
        where=name,
        got=f"{type(model).__name__}: {got}",
        expected="a model of SAM's shape: image embeddings, a prompt encoder of points and boxes "
        "and a mask decoder that takes both",
    )
