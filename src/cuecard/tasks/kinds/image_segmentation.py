"""A part of an image, as a mask: what a promptable segmentation model shows at a learnt prompt.

A row may bring points and boxes of its own, which the model sees beside the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from cuecard.errors import DataError
from cuecard.images import size_of
from cuecard.lazy import functional, np
from cuecard.masks import Mask, bits_of, bits_of_runs, box_of, checked_mask, on_grid, runs_of
from cuecard.metrics.overlap import overlap
from cuecard.metrics.values import MetricValues
from cuecard.tasks.kinds.base import (
    AnswerMode,
    Baseline,
    Predictions,
    Readers,
    Records,
    Targets,
    no_training_rows,
)
from cuecard.tasks.kinds.images import ImageKind
from cuecard.tasks.mask_loss import goals_of, mask_losses
from cuecard.tasks.readers.images.image_cells import image_column
from cuecard.tasks.readers.images.mask_folders import images_beside_masks
from cuecard.tasks.readers.images.region_cells import (
    Box,
    Point,
    boxes_column,
    boxes_of,
    mask_column,
    points_column,
    points_of,
)
from cuecard.tasks.readers.tables import TARGET, record_place
from cuecard.tasks.settings import TaskSettings, contradiction
from cuecard.types import (
    Encoded,
    Frame,
    Image,
    PlacesImages,
    Prediction,
    Record,
    Region,
    Slot,
    Tokenizer,
    Tower,
    Value,
)
from cuecard.validation_text import counted

if TYPE_CHECKING:
    from torch import Tensor

POINTS, BOXES = "points", "boxes"

_FIELD = re.compile(r"\{[^}]*\}")


class SegmentationSettings(BaseModel):
    """
    Attributes:
        mask_class: the number of the part in masks of several; None where a mask has only one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mask_class: int | None = Field(
        default=None,
        ge=0,
        exclude_if=lambda number: number is None,
        description="Which number of the masks' pixels is the part to find, where masks have "
        "several. By default whatever is not 0.",
    )


class ImageSegmentationKind(ImageKind[SegmentationSettings]):
    """A part of an image."""

    name = "image-segmentation"
    about = "a part of an image, as a mask"
    settings = SegmentationSettings
    target_field = "mask"
    metric = "iou"
    second = "dice"
    headings = ("IoU", "dice")
    mode: AnswerMode = "pixels"
    tower: Tower = "mask-decoder"

    def check(self, spec: TaskSettings) -> None:
        """The template is an image's field, and points and boxes if they are read."""
        twice = any(spec.parsed.count(name) > 1 for name in spec.field_names)
        left = _FIELD.sub("", spec.template).strip()
        if len(_image_fields(spec)) != 1 or left or twice:
            raise contradiction(
                "words beside the image, which no segmentation model reads",
                "template",
                repr(spec.template),
                "{image}, and beside it {points} or {boxes} where rows have them",
            )

    def columns(self, spec: TaskSettings, target: str | None, named: Mapping[str, str]) -> Readers:
        """Files of an image and of its mask; points and boxes as lists of numbers."""
        (image,) = _image_fields(spec)
        found: Readers = {image: image_column(named.get(image, image))}
        for field, reader in ((POINTS, points_column), (BOXES, boxes_column)):
            if field in spec.field_names:
                found[field] = reader(named.get(field, field))
        if target is not None:
            found[TARGET] = mask_column(target, self.own(spec).mask_class)
        return found

    def target_of(self, spec: TaskSettings, value: Value) -> Mask:
        """The checked mask."""
        if isinstance(value, Mask):
            return value
        if not isinstance(value, Image):
            raise DataError("the mask is not an image", got=str(value)[:80], expected="an Image")
        return checked_mask(value, chosen=self.own(spec).mask_class)

    def fitted(self, spec: TaskSettings, train: Records) -> Mapping[str, Any]:
        """Nothing, but refuse masks that all are empty: there is no part to learn."""
        if not any(bits_of(self.target_of(spec, record.target or "")).any() for record in train):
            chosen = self.own(spec).mask_class
            raise DataError(
                "no mask of the training rows has the part to find",
                where="masks" if chosen is None else f"task.mask_class {chosen}",
                got=f"{counted(len(train), 'mask')} without "
                + ("a pixel other than 0" if chosen is None else f"a pixel of {chosen}"),
                expected="the part in one mask or more",
            )
        return {}

    def check_target(self, spec: TaskSettings, record: Record) -> None:
        """Also refuse a mask of another size than its image's, and what is not in the image."""
        super().check_target(spec, record)
        where = record_place(record)
        height, width = size_of(record.images[0], where)
        mask = self.target_of(spec, record.target or "")
        if mask.size != (height, width):
            turned = mask.size == (width, height)
            raise DataError(
                "the mask is not as large as its image",
                where=where,
                got=f"a mask of {mask.size[1]:,} x {mask.size[0]:,} pixels",
                expected=f"{width:,} x {height:,}, as the image is shown",
                hint="images are turned as their EXIF data says, and so must be their masks"
                if turned
                else None,
            )
        _check_inside(spec, record, height, width)

    def encode(
        self, spec: TaskSettings, record: Record, tokenizer: Tokenizer, slot: Slot
    ) -> list[Encoded]:
        """The image, what is asked of it, and the mask on the model's grid where it is known."""
        (field,) = _image_fields(spec)
        image = record.fields.get(field)
        if not isinstance(image, Image) or not isinstance(tokenizer, PlacesImages):
            return [Encoded((), ())]
        frame = tokenizer.frame(*size_of(image, record_place(record)))
        points, boxes = _regions(spec, record)
        _check_inside(spec, record, frame.height, frame.width)
        goal = b""
        if record.target is not None:
            goal = _goal(self.target_of(spec, record.target), frame)
        positions = getattr(tokenizer, "image_positions", 0)
        region = Region(frame, points, boxes, goal)
        return [Encoded((), (), images=(image,), image_positions=positions, region=region)]

    def mask_loss(self, spec: TaskSettings, rows: Sequence[Encoded], logits: Tensor) -> Tensor:
        """The summed dice and focal loss of mask logits [N, C], see `mask_losses`."""
        goals, inside = goals_of([row.region for row in rows if row.region is not None])
        return mask_losses(logits, goals.to(logits.device), inside.to(logits.device)).sum()

    def mask_answers(
        self, spec: TaskSettings, rows: Sequence[Encoded], logits: Tensor
    ) -> list[Prediction]:
        """Mask logits [N, C] as masks of the images' own sizes.

        They are enlarged to the model's input, cut to what the image takes of it, scaled to the
        image, and 1 above 0: `post_process_masks` of transformers' SAM processor.
        """
        found = []
        for index, (row, cells) in enumerate(zip(rows, logits.float(), strict=True)):
            assert row.region is not None
            frame = row.region.frame
            square = cells.reshape(1, 1, frame.grid, frame.grid)
            large = _scaled(square, (frame.side, frame.side))
            own = _scaled(large[..., : frame.seen[0], : frame.seen[1]], (frame.height, frame.width))
            bits = (own[0, 0] > 0).cpu().numpy()
            found.append(Prediction(index, runs_of(bits), {}, {}))
        return found

    def score(self, spec: TaskSettings, gold: Targets, predictions: Predictions) -> MetricValues:
        """IoU and dice, the means over images."""
        pairs = zip(gold, predictions, strict=True)
        each = [overlap(bits_of(mask), bits_of_runs(found.answer)) for mask, found in pairs]
        iou, dice = np.asarray(each, dtype=np.float64).reshape(-1, 2).T
        return MetricValues.of({"iou": iou, "dice": dice})

    def baselines(self, spec: TaskSettings, train: Records, test: Records) -> Iterator[Baseline]:
        """The whole image or none of it, whichever is better on the training rows."""
        name = "all or nothing"
        against = "all of every image, or none of it"
        yield Baseline("majority", name, against, lambda: self._same(spec, train, test))

    def _same(self, spec: TaskSettings, train: Records, test: Records) -> list[Prediction]:
        if not train:
            raise no_training_rows(self.name)
        masks = [bits_of(self.target_of(spec, record.target or "")) for record in train]
        # IoU with all of an image is the mask's share of it; with none, 1 of an empty mask.
        everything = sum(bits.mean() for bits in masks) >= sum(not bits.any() for bits in masks)
        sizes = [size_of(record.images[0]) for record in test]
        return [
            Prediction(i, runs_of(np.full(size, everything)), {}, {})
            for i, size in enumerate(sizes)
        ]

    def details(self, prediction: Prediction) -> Mapping[str, Any]:
        """The mask's area in pixels, and the box around it: left, top, right, bottom."""
        bits = bits_of_runs(prediction.answer)
        return {"area": int(bits.sum()), "box": box_of(bits)}

    def shown(self, prediction: Prediction) -> str:
        """The same in words."""
        bits = bits_of_runs(prediction.answer)
        box = box_of(bits)
        place = "" if box is None else f", box {' '.join(map(str, box))}"
        return f"{bits.sum():,} of {bits.size:,} pixels{place}"

    def inputs(self, texts: Sequence[str]) -> list[str]:
        """The files that paths, folders and patterns name; of images beside masks, the images."""
        return super().inputs([str(images_beside_masks(Path(text)) or text) for text in texts])

    def instruction(self, spec: TaskSettings) -> str:
        """Of no use to a model that reads no words."""
        return "Find the part of the image.\n\n"


def _image_fields(spec: TaskSettings) -> list[str]:
    return [name for name in spec.field_names if name not in (POINTS, BOXES)]


def _regions(spec: TaskSettings, record: Record) -> tuple[tuple[Point, ...], tuple[Box, ...]]:
    """The points and boxes that the template asks for; none in the pictures of test inputs."""
    place = record_place(record)
    cells = [record.fields.get(n) if n in spec.field_names else None for n in (POINTS, BOXES)]
    points, boxes = (None if isinstance(cell, Image) else cell for cell in cells)
    return points_of(points, place), boxes_of(boxes, place)


def _check_inside(spec: TaskSettings, record: Record, height: int, width: int) -> None:
    points, boxes = _regions(spec, record)
    named: list[tuple[str, Point | Box, list[tuple[float, float]]]] = [
        *(("point", p, [p[:2]]) for p in points),
        *(("box", b, [b[:2], b[2:]]) for b in boxes),
    ]
    for what, given, corners in named:
        if not all(0 <= x <= width and 0 <= y <= height for x, y in corners):
            raise DataError(
                f"a {what} is not in its image",
                where=record_place(record),
                got=str([*given]),
                expected=f"x from 0 to {width:,} and y from 0 to {height:,}",
            )


@lru_cache(maxsize=1 << 12)
def _goal(mask: Mask, frame: Frame) -> bytes:
    """The mask on the frame's cells; asked for anew at every validation."""
    sizes = zip(frame.cells, frame.seen, (frame.height, frame.width), strict=True)
    cell = frame.side / frame.grid
    down, across = (count * cell * own / seen for count, seen, own in sizes)
    return on_grid(bits_of(mask), frame.cells, (down, across))


def _scaled(values: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(values, size, mode="bilinear", align_corners=False)


IMAGE_SEGMENTATION = ImageSegmentationKind()
