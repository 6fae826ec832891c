"""Files of masks: what each kind of file says, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
import PIL.Image
import pytest

from cuecard.errors import DataError
from cuecard.masks import bits_of, box_of, checked_mask
from cuecard.types import Image

BITS = np.arange(6 * 8).reshape(6, 8) % 5 == 0
GREY = BITS.astype(np.uint8)


def file(image: PIL.Image.Image, kind: str = "PNG", **options: object) -> Image:
    out = BytesIO()
    image.save(out, kind, **options)
    return Image(out.getvalue())


def palette() -> PIL.Image.Image:
    made = PIL.Image.fromarray(GREY * 7, "P")
    made.putpalette([255, 0, 0] * 256)  # whatever the colours are, numbers count
    return made


@pytest.mark.parametrize(
    "made",
    [
        lambda: PIL.Image.fromarray(BITS),
        lambda: PIL.Image.fromarray(GREY),
        lambda: PIL.Image.fromarray(GREY * 255),
        lambda: PIL.Image.fromarray(GREY.astype(np.uint16) * 4000),
        lambda: PIL.Image.fromarray(GREY * 200).convert("RGB"),
        lambda: PIL.Image.fromarray(GREY * 200).convert("RGBA"),
        palette,
    ],
)
def test_what_is_not_0_is_the_part(made: Callable[[], PIL.Image.Image]) -> None:
    mask = checked_mask(file(made()))
    assert np.array_equal(bits_of(mask), BITS) and mask.size == (6, 8)
    # The same part has the same digest, whatever file it came from.
    assert mask == checked_mask(file(PIL.Image.fromarray(GREY * 9)))


def test_one_class_is_chosen_of_several() -> None:
    numbers = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
    with pytest.raises(DataError, match="more than one class") as caught:
        checked_mask(file(PIL.Image.fromarray(numbers)), "x.png")
    assert caught.value.where == "x.png" and "task.mask_class=1" in str(caught.value.hint)
    chosen = checked_mask(file(PIL.Image.fromarray(numbers)), chosen=2)
    assert np.array_equal(bits_of(chosen), numbers == 2)
    assert not bits_of(checked_mask(file(PIL.Image.fromarray(numbers)), chosen=9)).any()


def test_a_mask_is_turned_as_its_exif_data_says() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    mask = checked_mask(file(PIL.Image.fromarray(GREY), exif=exif.tobytes()))
    assert np.array_equal(bits_of(mask), np.rot90(BITS, -1)) and mask.size == (8, 6)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (Image(b"no image"), "not an image"),
        (file(PIL.Image.effect_noise((8, 8), 90).convert("RGB"), "JPEG"), "more than one class"),
        (file(PIL.Image.new("RGB", (4, 4), "red")), "not one number per pixel"),
        (file(PIL.Image.new("RGBA", (4, 4), (9, 9, 9, 0))), "not one number per pixel"),
    ],
)
def test_what_is_no_mask_is_refused(content: Image, said: str) -> None:
    with pytest.raises(DataError, match=said):
        checked_mask(content)


def test_the_box_around_a_part() -> None:
    bits = np.zeros((5, 9), np.bool_)
    assert box_of(bits) is None
    bits[2, 3:6] = True
    assert box_of(bits) == (3, 2, 6, 3)
