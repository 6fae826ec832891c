"""Masks: the part of an image, as a file -> checked bits, and as runs of equal pixels.

A mask's file holds a number per pixel: 0 for what is not in the part. Runs are those of COCO's
uncompressed format, which pycocotools reads: column by column, first how many pixels are not in the
part, then how many are, and so on (`cocodataset/cocoapi`, `common/maskApi.c`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from cuecard.errors import DataError
from cuecard.images import pillow, pillow_ops, read_file
from cuecard.lazy import np
from cuecard.types import Image
from cuecard.validation_text import first_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image as Pixels

_NAMED = 8  # numbers in a message
_COLOURS = ("LA", "RGB", "RGBA")


@dataclass(frozen=True, slots=True)
class Mask(Image):
    """A checked mask: a PNG of one bit a pixel, white for the part."""


def checked_mask(image: Image, where: str | None = None, chosen: int | None = None) -> Mask:
    """What a mask's file says.

    Args:
        where: the file or row that it comes from, for messages.
        chosen: the number of the part, in a mask of several; by default whatever is not 0.

    Raises:
        DataError: no image, a coloured one, or several parts of which none is chosen.
    """
    values = read_file(image, lambda opened: _numbers(opened, where), where)
    if chosen is not None:
        return mask_image(values == chosen)
    numbers = np.unique(values[values != 0]).tolist()
    if len(numbers) > 1:
        told = first_of([str(number) for number in numbers], _NAMED)
        raise DataError(
            "the mask has more than one class",
            where=where,
            got=f"pixels of 0 and {told}",
            expected="0, and one other number",
            hint=f"train with --set task.mask_class={numbers[0]} to choose one of them, or save "
            "the mask as PNG, since JPEG blurs it",
        )
    return mask_image(values != 0)


def mask_image(bits: NDArray[np.bool_]) -> Mask:
    """Bits [height, width] as a mask."""
    height, width = bits.shape
    digest = hashlib.sha256(f"{width}x{height}:".encode() + np.packbits(bits).tobytes())
    return Mask(png_of(bits), digest.hexdigest(), (height, width))


def png_of(bits: NDArray[np.bool_]) -> bytes:
    """The same as a file's bytes."""
    file = BytesIO()
    pillow.fromarray(bits).save(file, "PNG")
    return file.getvalue()


def bits_of(mask: Mask) -> NDArray[np.bool_]:
    """[height, width] which pixels are in the part."""
    values = read_file(mask, lambda opened: _numbers(opened, None))
    return np.asarray(values, dtype=np.bool_)


def runs_of(bits: NDArray[np.bool_]) -> str:
    """Bits [height, width] as the JSON of COCO's runs."""
    flat = bits.T.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    ends = [0, *changes.tolist(), len(flat)]
    counts = [end - start for start, end in pairwise(ends)]
    first = [0] if flat[0] else []
    return json.dumps({"size": list(bits.shape), "counts": first + counts}, separators=(",", ":"))


def bits_of_runs(text: str) -> NDArray[np.bool_]:
    """[height, width] of the JSON of COCO's runs.

    Raises:
        DataError: another text.
    """
    try:
        said = json.loads(text)
        height, width = map(int, said["size"])
        counts = np.asarray(said["counts"], dtype=np.int64)
        bits = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        return bits.reshape(width, height).T
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            "the answer is not a mask",
            got=text[:80],
            expected='{"size": [height, width], "counts": [...]}',
        ) from error


def box_of(bits: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of the part, the last two beside it; None for an empty one."""
    rows, columns = np.flatnonzero(bits.any(1)), np.flatnonzero(bits.any(0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def on_grid(bits: NDArray[np.bool_], cells: tuple[int, int], covered: tuple[float, float]) -> bytes:
    """Which cells are in the part by half or more, packed by `numpy.packbits` row by row.

    Args:
        cells: rows and columns of them.
        covered: of how many pixels of the mask, down and across, all of them are.
    """
    height, width = bits.shape
    box = (0.0, 0.0, min(covered[1], width), min(covered[0], height))
    grey = pillow.fromarray(bits.astype(np.uint8) * 255)
    shares = np.asarray(grey.resize(cells[::-1], pillow.Resampling.BOX, box=box))
    return np.packbits(shares >= 128).tobytes()


def _numbers(opened: Pixels, where: str | None) -> NDArray[Any]:
    """[height, width] a number per pixel: a grey's, or a palette's index."""
    opened.load()
    turned = pillow_ops.exif_transpose(opened)
    values: NDArray[Any] = np.asarray(turned)
    if turned.mode in _COLOURS:
        alpha = values[..., -1] if turned.mode != "RGB" else np.asarray([255])
        colours = values[..., : 3 if turned.mode != "LA" else 1]
        if alpha.min() == 255 and (colours == colours[..., :1]).all():
            return colours[..., 0]
    if values.ndim != 2 or turned.mode == "F":
        raise DataError(
            "the mask is not one number per pixel",
            where=where,
            got=f"mode {turned.mode}, {'coloured' if values.ndim == 3 else 'floating point'}",
            expected="grey, black and white, or a palette of classes, without transparency",
        )
    return values
