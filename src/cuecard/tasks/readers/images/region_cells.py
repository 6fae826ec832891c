"""Cells that say which part of an image is meant: a mask, points, boxes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from cuecard.errors import DataError
from cuecard.masks import Mask, checked_mask
from cuecard.tasks.readers.columns import ColumnReader, NamesOf
from cuecard.tasks.readers.images.image_cells import image_file
from cuecard.types import Value

Point = tuple[float, float, int]
Box = tuple[float, float, float, float]

_MOST = 100  # points or boxes of one image


def mask_column(column: str, chosen: int | None) -> ColumnReader[Mask]:
    """A mask: the bytes of an image's file, or its path.

    Args:
        chosen: as in `checked_mask`.
    """

    def read(values: Mapping[str, Any], names: NamesOf, where: str) -> Mask:
        image, place = image_file(values.get(column), f"{where}, column {column!r}", "mask")
        return checked_mask(image, place, chosen)

    return ColumnReader((column,), read, files=True)


def points_column(column: str) -> ColumnReader[str]:
    """Points as a list, also in JSON, of [x, y] or [x, y, 1], or [x, y, 0] outside of the part."""

    def read(values: Mapping[str, Any], names: NamesOf, where: str) -> str:
        points = points_of(values.get(column), f"{where}, column {column!r}")
        return json.dumps(points) if points else ""

    return ColumnReader((column,), read)


def boxes_column(column: str) -> ColumnReader[str]:
    """Boxes as a list, also in JSON, of [left, top, right, bottom]."""

    def read(values: Mapping[str, Any], names: NamesOf, where: str) -> str:
        boxes = boxes_of(values.get(column), f"{where}, column {column!r}")
        return json.dumps(boxes) if boxes else ""

    return ColumnReader((column,), read)


def points_of(value: Value | Any, place: str | None = None) -> tuple[Point, ...]:
    """The points of a cell; none of an empty one.

    Raises:
        DataError: something else.
    """
    expected = "[[x, y], ...], in the image's pixels; [x, y, 0] for one outside of the part"
    found = _lists(value, place, "points", expected)
    for point in found:
        if len(point) not in (2, 3) or (len(point) == 3 and point[2] not in (0, 1)):
            raise _wrong("points", place, point, expected)
    return tuple((p[0], p[1], int(p[2]) if len(p) == 3 else 1) for p in found)


def boxes_of(value: Value | Any, place: str | None = None) -> tuple[Box, ...]:
    """The boxes of a cell; none of an empty one.

    Raises:
        DataError: something else.
    """
    expected = "[[left, top, right, bottom], ...], in the image's pixels"
    found = _lists(value, place, "boxes", expected)
    for box in found:
        if len(box) != 4 or not (box[0] < box[2] and box[1] < box[3]):
            raise _wrong("boxes", place, box, expected)
    return tuple((b[0], b[1], b[2], b[3]) for b in found)


def _lists(value: Any, place: str | None, what: str, expected: str) -> list[list[float]]:
    """Lists of finite numbers; one alone is a list of one."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return []
    try:
        given = json.loads(value) if isinstance(value, str) else value
        if len(given) and not hasattr(given[0], "__len__"):
            given = [given]
        found = [[_number(number) for number in numbers] for numbers in given]
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise _wrong(what, place, value, expected) from error
    if len(found) > _MOST:
        raise _wrong(what, place, f"{len(found)} {what}", f"at most {_MOST}")
    return found


def _number(value: Any) -> float:
    if isinstance(value, bool | str) or not math.isfinite(value):
        raise ValueError
    return float(value)


def _wrong(what: str, place: str | None, got: Any, expected: str) -> DataError:
    return DataError(
        f"the {what} cannot be read", where=place, got=str(got)[:80], expected=expected
    )
