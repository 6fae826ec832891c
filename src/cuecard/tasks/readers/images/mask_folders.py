"""Folders `images/` and `masks/`, whose files go together by name, alone or one pair per split."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

from cuecard.errors import DataError, DataWarning
from cuecard.tasks.readers.images.image_sets import IMAGE, PARTS, Parts, folders_in, images_in
from cuecard.tasks.readers.tables import Table
from cuecard.validation_text import counted, first_of

MASK = "mask"
IMAGES, MASKS = "images", "masks"

_NAMED = 5


def mask_parts(path: Path) -> Parts:
    """The parts of a folder by name, with the columns "image" and "mask".

    Raises:
        DataError: another folder, an image without a mask, or two of one name.
    """
    inner = folders_in(path)
    if inner and all(f.name.lower() in PARTS for f in inner):
        return {folder.name: _pairs(folder) for folder in inner}
    return {"train": _pairs(path)}


def images_beside_masks(path: Path) -> Path | None:
    """The folder of images of such a folder; None of another one."""
    both = path / IMAGES, path / MASKS
    return both[0] if all(folder.is_dir() for folder in both) else None


def _pairs(path: Path) -> Table:
    for name in (IMAGES, MASKS):
        if not (path / name).is_dir():
            raise DataError(
                f"there is no folder of {name}",
                where=str(path),
                got=", ".join(folder.name for folder in folders_in(path)) or "no folders",
                expected="images/ and masks/, with a mask of the same name for each image, or a "
                "table with a column 'mask'",
            )
    images, masks = _by_name(path / IMAGES), _by_name(path / MASKS)
    missing = [str(images[name]) for name in images if name not in masks]
    if missing or not images:
        raise DataError(
            f"{len(missing):,} of {len(images):,} images have no mask"
            if images
            else "there are no images",
            where=str(path),
            got=first_of(missing, _NAMED) or f"no images in {IMAGES}/",
            expected="for images/NAME.jpg a file masks/NAME.png",
        )
    others = [str(masks[name]) for name in masks if name not in images]
    if others:
        left = counted(len(others), "mask")
        text = f"{path}: left out {left} without an image: {first_of(others, _NAMED)}"
        warnings.warn(DataWarning(text), stacklevel=2)
    rows = (
        (number, {IMAGE: images[name], MASK: masks[name]}) for number, name in enumerate(images, 1)
    )
    files = [str(file) for file in images.values()]
    return Table(str(path), (IMAGE, MASK), rows, files=files)


def _by_name(folder: Path) -> Mapping[str, Path]:
    """The image files in a folder and below it, by their paths from there without the ending."""
    found: dict[str, Path] = {}
    for file in images_in(folder):
        name = str(file.relative_to(folder).with_suffix(""))
        if name in found:
            raise DataError(
                "two files have one name, so that it is open which one is meant",
                where=str(folder),
                got=f"{found[name].name} and {file.name}",
                expected="one of them",
            )
        found[name] = file
    return found
