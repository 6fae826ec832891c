"""Sets of the `datasets` library: a folder it saved, or a set on the hub or in a copy of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from cuecard.errors import CuecardError, DataError
from cuecard.images import SUFFIXES
from cuecard.lazy import import_library
from cuecard.tasks.readers.compressed import data_suffix
from cuecard.tasks.readers.images.image_cells import FileCell
from cuecard.tasks.readers.tables import Row, Table, Wanted, require_columns

_SHARD = re.compile(r".+-\d{5}-of-\d{5}\.parquet")
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+)?", re.ASCII)


_LOOKED_AT = 1_000
_FILES = (
    ".csv",
    ".tsv",
    ".jsonl",
    ".ndjson",
    ".json",
    ".parquet",
    ".xlsx",
    ".conll",
    ".bio",
    ".iob",
)


def looks_like_hub_name(source: str) -> bool:
    """Whether a source that is no file can be `name`, `owner/name` or `owner/name:config`."""
    is_name = _HUB_NAME.fullmatch(source) is not None and ".." not in source
    return is_name and not source.endswith(".txt")  # a file of lines, mistyped


def is_hub_layout(path: Path) -> bool:
    """Whether a folder holds Parquet files called as those of a set on the hub."""
    files = (*path.glob("*.parquet"), *path.glob("*/*.parquet"))
    return any(_SHARD.fullmatch(file.name) for file in files)


def load_folder(path: Path) -> dict[str, Any]:
    """The parts of a folder made by `save_to_disk`, or of a copy of a set on the hub.

    A single set is its own "train".

    Raises:
        DataError: another kind of folder, or a damaged one.
    """
    files = sorted(p.name for p in path.iterdir() if data_suffix(p) in _FILES and p.is_file())
    return _parts(
        lambda: (
            _datasets().load_dataset(str(path))
            if is_hub_layout(path)
            else _datasets().load_from_disk(str(path))
        ),
        where=str(path),
        what="the folder is not a saved `datasets` set",
        expected="a folder made by save_to_disk, or a .csv, .tsv, .jsonl or .parquet file",
        hint=f"name one of its files: {', '.join(files[:5])}" if files else _of_images(path),
    )


def _of_images(path: Path) -> str | None:
    """What to do where the folder holds images."""
    found = any(p.suffix.lower() in SUFFIXES for p in islice(path.rglob("*"), _LOOKED_AT))
    return "for a folder of images: --kind image-classification" if found else None


def load_hub(name: str) -> dict[str, Any]:
    """The parts of a set on the hub; `owner/name:config` picks one of its configurations.

    Raises:
        DataError: no such set, or no way to reach the hub.
    """
    path, _, config = name.partition(":")
    return _parts(
        lambda: _datasets().load_dataset(path, config or None),
        where=name,
        what="there is no such file, and the hub gave no such data set",
        expected="an existing file or folder, or the name of a data set on the hub",
        hint="check the path; a hub set needs the network once",
    )


def set_table(part: Any, source: str, wanted: Wanted) -> Table:
    """One part as a table, of which the wanted columns are read; a row's number is its place."""
    _check_columns(part, source, wanted)
    names = {
        column: inner.names
        for column, feature in part.features.items()
        # Of a list of class numbers, such as a sentence's tags, the numbers' names.
        for inner in [getattr(feature, "feature", feature)]
        if hasattr(inner, "names") and hasattr(inner, "int2str")
    }
    # Other columns are left out before reading: decoding an image or a sound is no use here.
    chosen = part.with_format(None).select_columns(list(wanted.needed))
    images = [column for column in _image_columns(part) if column in wanted.needed]
    for column in images:
        chosen = chosen.cast_column(column, _datasets().Image(decode=False))

    def rows() -> Iterator[Row]:
        for number, row in enumerate(chosen, 1):
            yield number, {**row, **{column: _cell(row[column]) for column in images}}

    return Table(source, tuple(part.column_names), rows(), names)


def _image_columns(part: Any) -> list[str]:
    return [
        name for name, feature in part.features.items() if isinstance(feature, _datasets().Image)
    ]


def _cell(image: Any) -> Any:
    """An image's bytes, or its file, which has to be one that the library fetched."""
    if not isinstance(image, Mapping) or image.get("bytes") is not None or not image.get("path"):
        return image
    config = _datasets().config
    caches = [Path(config.HF_DATASETS_CACHE), Path(config.DOWNLOADED_DATASETS_PATH)]
    caches.append(Path(import_library("huggingface_hub.constants").HF_HUB_CACHE))
    path = str(image["path"])
    holding = (cache for cache in caches if Path(path).is_relative_to(cache))
    return FileCell(next(holding, caches[0]), path)


def _check_columns(part: Any, source: str, wanted: Wanted) -> None:
    """
    Raises:
        DataError: a wanted column is missing; of a set of images with the flags that name them.
    """
    try:
        require_columns(wanted.needed, part.column_names, source)
    except DataError as error:
        images = _image_columns(part)
        if not images:
            raise
        classes = [n for n, f in part.features.items() if hasattr(f, "int2str")]
        flags = ["--kind image-classification", f"--text-field {images[0]}"]
        flags += [f"--label-field {name}" for name in classes[:1]]
        raise error.replaced(hint=f"for images: {' '.join(flags)}") from error


def is_unlabelled(part: Any, target: str | None) -> bool:
    """Whether a part has labels for no row at all, as hidden test sets do."""
    if target is None or target not in part.column_names:
        return False
    return set(part.unique(target)) <= {-1, None}


def _datasets() -> Any:
    # Loaded on first use, as it takes seconds and most runs read a plain file.
    return import_library("datasets")


def _parts(
    load: Callable[[], Any], *, where: str, what: str, expected: str, hint: str | None = None
) -> dict[str, Any]:
    try:
        loaded = load()
    except CuecardError:
        raise  # the library is not installed
    except Exception as error:
        # The library passes on whatever its file systems and its HTTP client raise.
        raise DataError(
            what,
            where=where,
            got=": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]]),
            expected=expected,
            hint=hint,
        ) from error
    return dict(loaded) if isinstance(loaded, dict) else {"train": loaded}
