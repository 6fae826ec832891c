"""Images as bytes -> checked RGB pixels: the one place where Pillow is asked.

An image comes from anyone, so only plain raster formats are opened, and none beyond `ImageLimits`,
which is seen before anything is decoded. What a viewer would show is what a model sees:
turned as EXIF says, transparent parts on white, 16 bits a channel brought down to 8, of an
animation the first frame.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeVar

from cuecard.errors import DataError, ImageTooLargeError
from cuecard.lazy import lazy_module, np
from cuecard.types import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image as Pixels

pillow = lazy_module("PIL.Image")
pillow_ops = lazy_module("PIL.ImageOps")

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"}
)
"""How image files are called."""

MAX_PIXELS = 50_000_000
"""The most pixels of an image: 150 MB as RGB."""

MAX_BYTES = 100_000_000
"""The most bytes of an image's file."""

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
_SHOWN = 120  # characters of Pillow's own message
_COUNT = re.compile(r"\((\d+) pixels\)")  # in its message of a bomb, whose size it keeps to itself
# Image processors scale the shorter side to a few hundred pixels, and the longer one with it.
_LONGEST = 200
# Scans of a progressive JPEG: each goes over all its pixels, and an empty one takes few bytes.
_MAX_SCANS, _SCAN = 500, b"\xff\xda"


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What an image may have at most.

    Attributes:
        nbytes: bytes of its file.
        pixels: width times height.
        frames: of an animation, or pages; None for any number, since the first one alone is read.
    """

    nbytes: int
    pixels: int
    frames: int | None = None


def checked(image: Image, where: str | None = None) -> Image:
    """The same image with its size and the digest of its pixels: it can be read.

    Args:
        where: the file or row that it comes from, for messages.

    Raises:
        DataError: as `pixels_of`.
    """
    if image.pixels:
        return image
    pixels = pixels_of(image, where)
    width, height = pixels.size
    return replace(image, pixels=_digest(pixels), size=(height, width))


def pixels_of(image: Image, where: str | None = None, limits: ImageLimits | None = None) -> Pixels:
    """An image's pixels as a Pillow image of mode RGB.

    Args:
        limits: by default `MAX_BYTES` and `MAX_PIXELS`.

    Raises:
        ImageTooLargeError: more bytes, pixels or frames than the limits.
        DataError: no image, a damaged one, or floating-point pixels.
    """

    def read(opened: Pixels) -> Pixels:
        opened.load()
        return _as_rgb(pillow_ops.exif_transpose(opened), where)

    return read_file(image, read, where, limits)


def size_of(image: Image, where: str | None = None) -> tuple[int, int]:
    """Rows and columns of an image as a viewer shows it.

    Raises:
        DataError: as `pixels_of`.
    """
    return image.size if all(image.size) else pixels_of(image, where).size[::-1]


def read_file(
    image: Image,
    read: Callable[[Pixels], T],
    where: str | None = None,
    limits: ImageLimits | None = None,
) -> T:
    """What is read of an image's file, as Pillow opens it.

    Raises:
        ImageTooLargeError, DataError: as `pixels_of`.
    """
    limits = limits or ImageLimits(MAX_BYTES, MAX_PIXELS)
    _check_bytes(len(image.content), limits, where)
    try:
        with warnings.catch_warnings():
            # Ours is the lower limit, and what else Pillow remarks on does not change the pixels.
            warnings.simplefilter("ignore")
            with pillow.open(BytesIO(image.content), formats=_FORMATS) as opened:
                _check_size(opened, where, limits)
                _check_frames(image.content, opened, where, limits)
                return read(opened)
    except DataError:
        raise
    except pillow.DecompressionBombError as error:
        count = _COUNT.search(str(error))
        got = _told(error) if count is None else f"{int(count[1]):,} pixels"
        raise _too_large("pixels", got, limits.pixels, where) from error
    except Exception as error:  # Pillow passes on whatever its decoders raise
        unknown = isinstance(error, pillow.UnidentifiedImageError)
        raise DataError(
            "the file is not an image" if unknown else "the image cannot be read",
            where=where,
            got=f"{len(image.content):,} bytes that no format begins with"
            if unknown
            else _told(error),
            expected=f"a whole image: {', '.join(_FORMATS)}",
        ) from error


def _check_bytes(count: int, limits: ImageLimits, where: str | None) -> None:
    if count > limits.nbytes:
        got = f"{count:,} bytes"
        raise _too_large("bytes", got, limits.nbytes, where, "the image's file is too large")


def thumbnail(image: Image, side: int) -> bytes:
    """A PNG of the image with its longer side at most so many pixels, and a tiny one enlarged.

    Raises:
        DataError: as `pixels_of`.
    """
    pixels = pixels_of(image)
    longer = max(pixels.size)
    if longer > side:
        pixels.thumbnail((side, side))
    else:  # each pixel as many times, which stay sharp
        times, (width, height) = side // longer, pixels.size
        pixels = pixels.resize((width * times, height * times), resample=pillow.Resampling.NEAREST)
    written = BytesIO()
    pixels.save(written, format="PNG")
    return written.getvalue()


def from_array(array: NDArray[Any], where: str | None = None) -> Image:
    """An image [h, w], [h, w, 1] or [h, w, 3] of uint8 as an uncompressed file.

    Raises:
        DataError: another shape or another type.
    """
    plain = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    shaped = plain.ndim == 2 or (plain.ndim == 3 and plain.shape[2] == 3)
    if plain.dtype != np.uint8 or not shaped or not plain.size:
        raise DataError(
            "the array is not an image",
            where=where,
            got=f"shape {array.shape}, {array.dtype}",
            expected="shape (height, width), or (height, width, 3), uint8",
        )
    kind = "P5" if plain.ndim == 2 else "P6"
    height, width = plain.shape[:2]
    return Image(f"{kind} {width} {height} 255\n".encode() + plain.tobytes())


def from_pillow(opened: Pixels, where: str | None = None) -> Image:
    """An image that Pillow has opened or made, of any mode, as an uncompressed file.

    Raises:
        DataError: too large, a damaged file, or floating-point pixels.
    """
    try:
        _check_size(opened, where, ImageLimits(MAX_BYTES, MAX_PIXELS))
        return from_pixels(_as_rgb(pillow_ops.exif_transpose(opened), where))
    except OSError as error:  # its file is read only now
        raise DataError(
            "the image cannot be read", where=where, got=_told(error), expected="a whole image"
        ) from error


def from_pixels(pixels: Pixels, *, once: bool = False) -> Image:
    """A Pillow image of mode RGB as an uncompressed file.

    Args:
        once: see `Image`.
    """
    width, height = pixels.size
    return Image(f"P6 {width} {height} 255\n".encode() + pixels.tobytes(), once=once)


def _check_size(opened: Pixels, where: str | None, limits: ImageLimits) -> None:
    width, height = opened.size
    size = f"{width:,} x {height:,} pixels"
    if width * height > limits.pixels:
        raise _too_large("pixels", size, limits.pixels, where)
    if max(width, height) > _LONGEST * min(width, height):
        raise ImageTooLargeError(
            "the image is too long for its width",
            where=where,
            got=size,
            expected=f"at most {_LONGEST} times as long",
            hint="cut it into pieces",
        )


def _check_frames(content: bytes, opened: Pixels, where: str | None, limits: ImageLimits) -> None:
    if opened.format in ("JPEG", "MPO") and (scans := content.count(_SCAN)) > _MAX_SCANS:
        raise _too_large("scans", f"{scans:,} scans", _MAX_SCANS, where)
    most = limits.frames
    if most is not None and _has_more_frames(content, opened, most):
        raise _too_large("frames", f"more than {most:,} frames", most, where)


def _has_more_frames(content: bytes, opened: Pixels, most: int) -> bool:
    """Whether an image has more frames, without going further through its file than to them."""
    if opened.format == "GIF":
        return _gif_frames(content, most + 1) > most
    if opened.format != "TIFF":
        return bool(getattr(opened, "n_frames", 1) > most)
    with pillow.open(BytesIO(content), formats=("TIFF",)) as again:
        try:
            again.seek(most)
        except EOFError:
            return False
    return True


def _gif_frames(content: bytes, most: int) -> int:
    """The frames of a GIF up to so many, by its blocks (GIF89a, section 15 on).

    Pillow would decode each, or go through all of them.
    """

    def table(flags: int) -> int:  # the bytes of a colour table
        return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

    at, frames = 13 + table(content[10]), 0
    while frames < most and at + 10 < len(content):
        introducer = content[at]
        if introducer == 0x2C:  # an image: its place, colours, code size, data
            frames += 1
            at += 11 + table(content[at + 9])
        elif introducer == 0x21:  # an extension: its label, data
            at += 2
        else:
            break
        while at < len(content) and content[at]:
            at += content[at] + 1
        at += 1
    return frames


def _as_rgb(opened: Pixels, where: str | None) -> Pixels:
    if opened.mode.startswith("I"):
        opened = _from_16_bits(opened, where)
    if opened.mode == "F":
        raise DataError(
            "the image has floating-point pixels, whose range nothing tells",
            where=where,
            got=f"mode {opened.mode}",
            expected="8 or 16 bits a channel",
        )
    if opened.has_transparency_data:
        above = opened.convert("RGBA")
        white = pillow.new("RGBA", above.size, "white")
        opened = pillow.alpha_composite(white, above)
    return opened.convert("RGB")


def _from_16_bits(opened: Pixels, where: str | None) -> Pixels:
    """Grey of 16 bits as grey of 8: Pillow itself would cut off what is above 255."""
    values = np.asarray(opened)
    if values.min() < 0 or values.max() > 65535:
        raise DataError(
            "the image has more than 16 bits a channel",
            where=where,
            got=f"pixels from {values.min()} to {values.max()}",
            expected="8 or 16 bits a channel",
        )
    narrow = values.astype(np.uint16, copy=False) // 257
    return pillow.fromarray(narrow.astype(np.uint8))  # type: ignore[no-any-return]


def _digest(pixels: Pixels) -> str:
    width, height = pixels.size
    return hashlib.sha256(f"{width}x{height}:".encode() + pixels.tobytes()).hexdigest()


def _too_large(
    unit: str, got: str, most: int, where: str | None, what: str = ""
) -> ImageTooLargeError:
    return ImageTooLargeError(
        what or f"the image has too many {unit}",
        where=where,
        got=got,
        expected=f"at most {most:,} {unit}",
        hint="make it smaller; a model sees a few hundred pixels to a side",
    )


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:_SHOWN]
