"""Training images that look a little different every time: flips, crops, shifts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cuecard.errors import ConfigError
from cuecard.images import from_pixels, pixels_of
from cuecard.lazy import lazy_module, np
from cuecard.tasks import TaskSpec
from cuecard.training.config import Augmentation
from cuecard.types import Encoded, Image

if TYPE_CHECKING:
    from numpy.random import Generator
    from PIL.Image import Image as Pixels

pillow = lazy_module("PIL.Image")

# The share of an image that a crop keeps at least, and how far its shape may be from the image's:
# half as strong as in training from scratch (Szegedy et al. 2015, section 6: 0.08).
_LEAST_SHARE, _SHAPE = 0.5, 4 / 3
# The most that an image is shifted, of its side: as 4 of 32 pixels (He et al. 2016, section 4.2).
_SHIFT = 1 / 8


def check_augmentation(spec: TaskSpec, kinds: Sequence[Augmentation]) -> None:
    """
    Raises:
        ConfigError: images to be changed in a task of texts.
    """
    if kinds and spec.task_kind.tower != "vision":
        raise ConfigError(
            "only training images are changed",
            where="training.augment",
            got=f"{', '.join(kinds)} for the kind {spec.kind}",
            expected="no augmentation, or a kind of labels for images",
        )


def augmented(
    rows: Sequence[Encoded], kinds: Sequence[Augmentation], draw: Sequence[int]
) -> list[Encoded]:
    """The rows with their images changed; the same for the same draw.

    Args:
        draw: numbers that decide what is drawn.
    """
    generator = np.random.default_rng(draw)
    return [
        replace(row, images=tuple(_changed(image, kinds, generator) for image in row.images))
        for row in rows
    ]


def _changed(image: Image, kinds: Sequence[Augmentation], generator: Generator) -> Image:
    pixels = pixels_of(image)
    if "crop" in kinds:
        pixels = _cropped(pixels, generator)
    if "shift" in kinds:
        pixels = _shifted(pixels, generator)
    if "flip" in kinds and generator.random() < 0.5:
        pixels = pixels.transpose(pillow.Transpose.FLIP_LEFT_RIGHT)
    return from_pixels(pixels, once=True)


def _cropped(pixels: Pixels, generator: Generator) -> Pixels:
    """A part of the image, stretched to all of its size."""
    share, stretch, *place = generator.random(4)
    width, height = pixels.size
    area = _LEAST_SHARE + (1 - _LEAST_SHARE) * share
    shape = math.exp((2 * stretch - 1) * math.log(_SHAPE))
    sides = math.sqrt(area * shape), math.sqrt(area / shape)
    wide, high = (min(1.0, side) * whole for side, whole in zip(sides, pixels.size, strict=True))
    left, top = place[0] * (width - wide), place[1] * (height - high)
    box = (left, top, left + wide, top + high)
    return pixels.resize(pixels.size, pillow.Resampling.BILINEAR, box=box)


def _shifted(pixels: Pixels, generator: Generator) -> Pixels:
    """The image moved, with its edge's pixels repeated where it was."""
    values = np.asarray(pixels)
    most = [int(side * _SHIFT) for side in values.shape[:2]]
    down, across = (int(generator.integers(0, 2 * side, endpoint=True)) for side in most)
    padded = np.pad(values, [(side, side) for side in most] + [(0, 0)], mode="edge")
    moved = padded[down : down + values.shape[0], across : across + values.shape[1]]
    found: Pixels = pillow.fromarray(moved)
    return found
