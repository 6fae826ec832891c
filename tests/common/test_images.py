from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from cuecard import images
from cuecard.errors import DataError, ImageTooLargeError
from cuecard.images import ImageLimits, checked, from_array, pixels_of
from cuecard.types import Image

LIMITS = ImageLimits(1 << 24, 1 << 20)
RAMP = np.arange(12 * 8 * 3, dtype=np.uint8).reshape(8, 12, 3)


def saved(picture: Any, kind: str = "PNG", **options: Any) -> Image:
    file = BytesIO()
    picture.save(file, kind, **options)
    return Image(file.getvalue())


def array(image: Image) -> Any:
    return np.asarray(pixels_of(image))


def test_every_mode_becomes_rgb() -> None:
    ramp = Pillow.fromarray(RAMP)
    assert np.array_equal(array(saved(ramp)), RAMP)
    for mode in ("L", "1", "LA", "P", "RGBA"):
        found = array(saved(ramp.convert(mode)))
        assert found.shape == RAMP.shape
        assert np.array_equal(found, np.asarray(ramp.convert(mode).convert("RGB"))), mode
    cmyk = array(saved(ramp.convert("CMYK"), "TIFF"))
    assert np.array_equal(cmyk, np.asarray(ramp.convert("CMYK").convert("RGB")))


def test_16_bits_keep_their_range() -> None:
    grey = Pillow.fromarray(np.array([[0, 257, 32896], [65535, 300, 65278]], dtype=np.uint16))
    for kind in ("PNG", "TIFF"):
        assert array(saved(grey, kind))[..., 0].tolist() == [[0, 1, 128], [255, 1, 254]]


def test_more_than_16_bits_are_refused() -> None:
    deep = Pillow.fromarray(np.array([[0, 65535]], dtype=np.int32))
    assert array(saved(deep, "TIFF"))[..., 0].tolist() == [[0, 255]]
    for wrong in (65536, -1):
        deep = Pillow.fromarray(np.array([[0, wrong]], dtype=np.int32))
        with pytest.raises(DataError, match="more than 16 bits"):
            pixels_of(saved(deep, "TIFF"))


def test_transparent_parts_are_white() -> None:
    clear = np.dstack([RAMP, np.where(np.arange(12) < 6, 255, 0) * np.ones((8, 1))])
    found = array(saved(Pillow.fromarray(clear.astype(np.uint8))))
    assert np.array_equal(found[:, :6], RAMP[:, :6]) and bool((found[:, 6:] == 255).all())


def test_exif_turns_an_image() -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    turned = saved(Pillow.fromarray(RAMP), exif=exif)
    assert np.array_equal(array(turned), np.rot90(RAMP, -1))


def test_of_an_animation_the_first_frame_counts() -> None:
    frames = [Pillow.new("RGB", (5, 4), colour) for colour in ("red", "green")]
    for kind in ("GIF", "WEBP", "PNG"):
        options = {"lossless": True} if kind == "WEBP" else {}
        moving = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert array(moving)[0, 0].tolist() == [255, 0, 0], kind


def test_a_copy_in_another_format_has_the_same_digest() -> None:
    ramp = Pillow.fromarray(RAMP)
    copies = [saved(ramp), saved(ramp, "BMP"), saved(ramp, "PNG", compress_level=0)]
    assert len({image.content for image in copies}) == 3
    assert len({checked(image).digest for image in copies}) == 1
    assert checked(from_array(RAMP)).digest == checked(copies[0]).digest
    assert checked(saved(ramp.rotate(180))).digest != checked(copies[0]).digest
    wide = saved(Pillow.fromarray(RAMP.reshape(4, 24, 3)))
    assert checked(wide).digest != checked(copies[0]).digest


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "not an image"),
        (b"hello", "not an image"),
        (saved(Pillow.fromarray(RAMP)).content[:60], "cannot be read"),
        (saved(Pillow.fromarray(RAMP.repeat(20, 0)), "JPEG").content[:-80], "cannot be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    ],
)
def test_what_is_no_whole_image_is_refused_with_its_place(content: bytes, what: str) -> None:
    with pytest.raises(DataError, match=what) as caught:
        pixels_of(Image(content), "set.csv, row 7")
    assert caught.value.where == "set.csv, row 7"


def test_too_many_pixels_are_refused_before_they_are_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bomb = saved(Pillow.new("1", (20_000, 20_000)))
    large = saved(Pillow.new("1", (9_000, 9_000)))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    for image, got in ((bomb, "400,000,000 pixels"), (large, "9,000 x 9,000 pixels")):
        with pytest.raises(DataError, match="too many pixels") as caught:
            pixels_of(image)
        assert caught.value.got == got
    monkeypatch.setattr(images, "MAX_BYTES", 10)
    with pytest.raises(ImageTooLargeError, match="file is too large"):
        pixels_of(large)


def test_what_would_become_very_long_is_refused_before_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert pixels_of(saved(Pillow.new("1", (400, 2)))).size == (400, 2)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    for size in ((402, 2), (1, 100_000)):
        with pytest.raises(ImageTooLargeError, match="too long for its width"):
            pixels_of(saved(Pillow.new("1", size)))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_frames_are_counted_up_to_their_limit(kind: str) -> None:
    colours = ("red", "green", "blue", "white")
    frames = [Pillow.new("RGB", (5, 4), colour) for colour in colours]
    moving = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    still = saved(frames[1], kind)
    for most, image in ((4, moving), (5, moving), (1, still), (None, moving)):
        assert pixels_of(image, limits=replace(LIMITS, frames=most)).size == (5, 4)
    for most in (1, 3):
        with pytest.raises(ImageTooLargeError, match="too many frames") as caught:
            pixels_of(moving, "input 2", replace(LIMITS, frames=most))
        assert caught.value.where == "input 2" and caught.value.got == f"more than {most} frames"


def test_a_gif_of_many_frames_is_not_gone_through_to_its_end() -> None:
    frames = [Pillow.new("L", (2, 2), shade) for shade in (0, 255)]
    two = saved(frames[0], "GIF", save_all=True, append_images=frames[1:]).content
    frame = two[two.index(b"\x2c", two.index(b"\x2c") + 1) : -1]
    many = Image(two[:-1] + frame * 100_000 + b"\x3b")
    with pytest.raises(ImageTooLargeError, match="too many frames"):
        pixels_of(many, limits=replace(LIMITS, frames=50))
    assert pixels_of(many, limits=replace(LIMITS, frames=200_000)).size == (2, 2)


def test_a_jpeg_of_very_many_scans_is_refused() -> None:
    picture = saved(Pillow.fromarray(RAMP), "JPEG", progressive=True)
    start = picture.content.rindex(b"\xff\xda")
    scan = picture.content[start:-2]
    many = Image(picture.content[:start] + scan * 600 + picture.content[-2:])
    assert pixels_of(picture).size == (12, 8)
    with pytest.raises(ImageTooLargeError, match="too many scans"):
        pixels_of(many)


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(DataError, match="floating-point"):
        pixels_of(saved(Pillow.fromarray(np.ones((4, 4), np.float32)), "TIFF"))


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros(4, np.uint8),
    ],
)
def test_an_array_of_another_shape_is_no_image(wrong: Any) -> None:
    with pytest.raises(DataError, match="not an image"):
        from_array(wrong)


def test_a_row_with_one_colour_is_grey(tmp_path: Path) -> None:
    grey = RAMP[..., :1]
    found = array(from_array(grey))
    assert np.array_equal(found, grey.repeat(3, 2))
