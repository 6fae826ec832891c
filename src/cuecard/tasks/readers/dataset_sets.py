"""Sets of the `datasets` library: a folder it saved, or a set on the hub."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

from cuecard.errors import DataError
from cuecard.images import SUFFIXES
from cuecard.tasks.readers.tables import Table, Wanted, require_columns

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+)?", re.ASCII)


_LOOKED_AT = 1_000
_FILES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".conll")


def looks_like_hub_name(source: str) -> bool:
    """Whether a source that is no file can be `name`, `owner/name` or `owner/name:config`."""
    return _HUB_NAME.fullmatch(source) is not None and ".." not in source


def load_folder(path: Path) -> dict[str, Any]:
    """The parts of a folder made by `save_to_disk`; a single set is its own "train".

    Raises:
        DataError: another kind of folder, or a damaged one.
    """
    files = sorted(p.name for p in path.iterdir() if p.suffix.lower() in _FILES and p.is_file())
    return _parts(
        lambda: _datasets().load_from_disk(str(path)),
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
    """One part as a table of the wanted columns; a row's number is its place."""
    require_columns(wanted.needed, part.column_names, source)
    names = {
        column: inner.names
        for column, feature in part.features.items()
        # Of a list of class numbers, such as a sentence's tags, the numbers' names.
        for inner in [getattr(feature, "feature", feature)]
        if hasattr(inner, "names") and hasattr(inner, "int2str")
    }
    # Other columns are left out before reading: decoding an image or a sound is no use here.
    chosen = part.with_format(None).select_columns(list(wanted.needed))
    for column, feature in chosen.features.items():
        if isinstance(feature, _datasets().Image):
            chosen = chosen.cast_column(column, _datasets().Image(decode=False))
    return Table(source, tuple(wanted.needed), enumerate(chosen, start=1), names)


def is_unlabelled(part: Any, target: str | None) -> bool:
    """Whether a part has labels for no row at all, as hidden test sets do."""
    if target is None or target not in part.column_names:
        return False
    return set(part.unique(target)) <= {-1, None}


def _datasets() -> Any:
    # Loaded on first use, as it takes seconds and most runs read a plain file.
    return import_module("datasets")


def _parts(
    load: Callable[[], Any], *, where: str, what: str, expected: str, hint: str | None = None
) -> dict[str, Any]:
    try:
        loaded = load()
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
