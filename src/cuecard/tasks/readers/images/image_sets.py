"""Sets of images that are no tables: a folder for each class, `.npz` arrays, IDX files.

Each is read as parts with the columns "image" and "label": by name where the source has parts
(`train/`, `val/`, `train_images`, `t10k-images-idx3-ubyte`), else one part, "train".
"""

from __future__ import annotations

import gzip
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cuecard.errors import DataError, DataWarning
from cuecard.images import SUFFIXES, from_array
from cuecard.lazy import np
from cuecard.tasks.readers.tables import Row, Table, place
from cuecard.validation_text import first_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGE, LABEL = "image", "label"

Parts = dict[str, Table]

_SAVED = ("dataset_info.json", "dataset_dict.json", "state.json")
PARTS = ("train", "training", "validation", "valid", "val", "dev", "test")
_MAX_ARRAY = 1 << 32  # bytes of one array, unpacked
_NAMED = 5
# What comes before the images' name, and after it, in the sets that are around.
_NPZ = (("{}_images", "{}_labels"), ("x_{}", "y_{}"), ("X_{}", "y_{}"))
_WHOLE = (("images", "labels"), ("x", "y"), ("X", "y"))
_IDX = ("-images-idx3-ubyte", "-images.idx3-ubyte")
_IDX_PARTS = {"t10k": "test"}


def is_array_file(path: Path) -> bool:
    """Whether a file holds images as arrays."""
    return path.suffix.lower() == ".npz" or any(mark in path.name for mark in _IDX)


def image_parts(path: Path, *, labelled: bool) -> Parts | None:
    """The parts of a set of images; None where the path is something else.

    Args:
        labelled: whether the labels are read too, so that a folder has one for each class.

    Raises:
        DataError: a set that cannot be used.
    """
    if path.is_dir():
        if is_saved_set(path):
            return None
        return _idx_folder(path) or _image_folder(path, labelled)
    if not path.is_file() or not is_array_file(path):
        return None
    return _npz(path) if path.suffix.lower() == ".npz" else {"train": _idx(path, str(path))}


def is_saved_set(folder: Path) -> bool:
    """Whether a folder is one that `datasets` saves."""
    return any((folder / name).is_file() for name in _SAVED)


def images_in(folder: Path) -> list[Path]:
    """The image files in a folder and below it, in the order of their names."""
    return sorted(p for p in folder.rglob("*") if _is_image(p) and p.is_file())


def _image_folder(path: Path, labelled: bool) -> Parts:
    inner = folders_in(path)
    if inner and all(f.name.lower() in PARTS and folders_in(f) for f in inner):
        return {folder.name: _class_folders(folder, labelled) for folder in inner}
    return {"train": _class_folders(path, labelled)}


def _class_folders(path: Path, labelled: bool) -> Table:
    """A folder of images, or of one folder for each class."""
    classes = folders_in(path)
    found: list[tuple[Path, str | None]] = [
        (file, folder.name) for folder in classes for file in images_in(folder)
    ]
    _tell_of_others(path, classes)
    loose = [p for p in sorted(path.iterdir()) if _is_image(p)]
    if loose and classes:
        raise DataError(
            "images lie beside the folders of the classes",
            where=str(path),
            got=first_of([p.name for p in loose], _NAMED),
            expected="every image in the folder of its class",
        )
    if not labelled:
        found = found or [(file, None) for file in loose]
    if not found:
        raise DataError(
            "there are no folders of images" if labelled else "there are no images",
            where=str(path),
            got=f"{len(classes)} folders without images"
            if classes
            else f"no folders, and {len(loose)} images",
            expected=f"a folder for each class, of files {', '.join(sorted(SUFFIXES))}",
        )
    rows = (
        (n, {IMAGE: file, LABEL: label} if classes else {IMAGE: file})
        for n, (file, label) in enumerate(found, 1)
    )
    columns = (IMAGE, LABEL) if classes else (IMAGE,)
    return Table(str(path), columns, rows, files=[str(file) for file, _ in found])


def _tell_of_others(path: Path, classes: Sequence[Path]) -> None:
    """Name the files that are no images by their names, and the classes without any image."""
    files = [p for folder in classes for p in sorted(folder.rglob("*")) if p.is_file()]
    others = [p for p in files if not _is_image(p) and not p.name.startswith((".", "Thumbs.db"))]
    empty = [folder.name for folder in classes if not images_in(folder)]
    for what, names in (
        ("files that are no images by their names", [str(p.relative_to(path)) for p in others]),
        ("folders without images", empty),
    ):
        if names:
            text = f"{path}: left out {len(names):,} {what}: {first_of(names, _NAMED)}"
            warnings.warn(DataWarning(text), stacklevel=2)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def folders_in(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _npz(path: Path) -> Parts:
    try:
        with zipfile.ZipFile(path) as archive:
            large = [i.filename for i in archive.infolist() if i.file_size > _MAX_ARRAY]
        if large:
            raise _unusable(path, f"{large[0]} is larger than 4 GiB")
        with np.load(path, allow_pickle=False) as arrays:
            found = {part: (arrays[i], arrays[x]) for part, i, x in _npz_names(path, arrays.files)}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise _unusable(path, f"{type(error).__name__}: {error}"[:120]) from error
    return {part: _array_table(f"{path} ({part})", *both) for part, both in found.items()}


def _npz_names(path: Path, names: Sequence[str]) -> list[tuple[str, str, str]]:
    """The parts, with the names of their images and labels."""
    patterns = [(part, i.format(part), x.format(part)) for part in PARTS for i, x in _NPZ]
    found = [(part, i, x) for part, i, x in patterns if i in names and x in names]
    found = found or [("train", i, x) for i, x in _WHOLE if i in names and x in names][:1]
    if not found:
        raise _unusable(path, f"arrays {', '.join(names) or '(none)'}")
    return found


def _unusable(path: Path, got: str) -> DataError:
    return DataError(
        "the arrays cannot be read as labelled images",
        where=str(path),
        got=got,
        expected="train_images and train_labels (val_, test_ beside them), or images and labels",
    )


def _array_table(source: str, images: NDArray[Any], labels: NDArray[Any]) -> Table:
    """Images [n, h, w] or [n, h, w, 3] of uint8 and labels [n] or [n, 1] as a table.

    Of labels [n, K] of 0 and 1 each row has the list of those that hold, by their numbers.
    """
    several = labels.ndim == 2 and labels.shape[1] > 1 and bool(np.isin(labels, (0, 1)).all())
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if images.ndim not in (3, 4) or (flat.ndim != 1 and not several) or len(images) != len(flat):
        raise DataError(
            "the arrays do not go together as images and labels",
            where=source,
            got=f"images {images.shape}, labels {labels.shape}",
            expected="(n, height, width) or (n, height, width, 3), and (n), (n, 1), or (n, labels) "
            "of 0 and 1",
        )

    def rows() -> Iterator[Row]:
        for n, (image, label) in enumerate(zip(images, flat.tolist(), strict=True), 1):
            if several:
                label = [str(number) for number, held in enumerate(label) if held]
            yield n, {IMAGE: from_array(image, place(source, n)), LABEL: label}

    return Table(source, (IMAGE, LABEL), rows())


def _idx_folder(path: Path) -> Parts:
    """The IDX files of a folder by what their names begin with."""
    files = [p for p in sorted(path.iterdir()) if any(mark in p.name for mark in _IDX)]
    found: Parts = {}
    for file in files:
        name = file.name.partition("-images")[0].lower()
        part = _IDX_PARTS.get(name, name)
        if part not in found:  # a packed copy of the same may lie beside it
            found[part] = _idx(file, f"{path} ({part})")
    return found


def _idx(path: Path, source: str) -> Table:
    images = _idx_array(path, 3)
    for made in ("labels-idx1", "labels.idx1"):
        labels = path.with_name(path.name.replace("images-idx3", made).replace("images.idx3", made))
        if labels.is_file():
            return _array_table(source, images, _idx_array(labels, 1))
    raise DataError(
        "the images have no file of labels",
        where=str(path),
        got=f"no {path.name.replace('images-idx3', 'labels-idx1')} beside it",
        expected="files called *-images-idx3-ubyte and *-labels-idx1-ubyte",
    )


def _idx_array(path: Path, rank: int) -> NDArray[Any]:
    """Unsigned bytes of so many dimensions, as http://yann.lecun.com/exdb/mnist/ describes them."""
    opener: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            magic, *shape = struct.unpack(f">{1 + rank}I", file.read(4 + 4 * rank))
            size = int(np.prod(shape, dtype=object))
            if magic != 0x800 + rank or size > _MAX_ARRAY:
                raise _no_idx(path, rank, f"number {magic:#x}, shape {tuple(shape)}")
            content = file.read(size + 1)
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise _no_idx(path, rank, f"{type(error).__name__}: {error}") from error
    if len(content) != size:
        raise _no_idx(path, rank, f"{len(content):,} bytes for shape {tuple(shape)}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _no_idx(path: Path, rank: int, got: str) -> DataError:
    return DataError(
        "the file is not a whole IDX file",
        where=str(path),
        got=got[:120],
        expected=f"unsigned bytes of {rank} dimension{'s' if rank > 1 else ''}",
    )
