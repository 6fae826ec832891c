"""A file, a folder, a hub name or rows in memory -> checked records."""

from __future__ import annotations

import stat
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence, Sized
from dataclasses import replace
from pathlib import Path
from typing import Any

from cuecard.errors import DataError, DataWarning
from cuecard.tasks.readers.columns import ColumnReader
from cuecard.tasks.readers.compressed import COMPRESSED, data_suffix
from cuecard.tasks.readers.conll_files import read_conll
from cuecard.tasks.readers.dataset_sets import (
    is_hub_layout,
    is_unlabelled,
    load_folder,
    load_hub,
    looks_like_hub_name,
)
from cuecard.tasks.readers.delimited import read_delimited
from cuecard.tasks.readers.images.image_cells import with_files
from cuecard.tasks.readers.images.image_sets import image_parts, is_array_file, is_saved_set
from cuecard.tasks.readers.images.mask_folders import images_beside_masks, mask_parts
from cuecard.tasks.readers.in_memory import DatasetLike, RowsInMemory, rows_table, source_name
from cuecard.tasks.readers.json_files import read_json
from cuecard.tasks.readers.parquet_files import read_parquet
from cuecard.tasks.readers.spreadsheets import read_spreadsheet
from cuecard.tasks.readers.tables import TARGET, Table, Wanted, record_place, records
from cuecard.tasks.similar import nearest, nearest_beside
from cuecard.tasks.splits import SPLITS
from cuecard.types import Record, Split, Value

Source = str | Path | RowsInMemory | Mapping[str, RowsInMemory]
"""A file, a folder or a hub name; rows in memory, or rows by the name of their split."""

READERS: dict[str, Callable[[Path, Wanted], Table]] = {
    ".csv": lambda path, _: read_delimited(path),
    ".tsv": lambda path, _: read_delimited(path),
    ".jsonl": lambda path, _: read_json(path),
    ".ndjson": lambda path, _: read_json(path),
    ".json": lambda path, _: read_json(path),
    ".parquet": read_parquet,
    ".xlsx": lambda path, _: read_spreadsheet(path),
    ".conll": lambda path, _: read_conll(path),
    ".bio": lambda path, _: read_conll(path),
    ".iob": lambda path, _: read_conll(path),
}

_SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}


def read_records(
    source: Source,
    *,
    fields: Sequence[str],
    target_field: str | None,
    split: str | None = None,
    limit: int | None = None,
    columns: Mapping[str, str] | None = None,
    readers: Mapping[str, ColumnReader[Value]] | None = None,
    optional: Collection[str] = (),
    group_field: str | None = None,
) -> list[Record]:
    """Read one list of records.

    Args:
        source: a .csv, .tsv, .jsonl, .ndjson, .json, .parquet, .xlsx or .conll file, of which those
            of text may be compressed (.gz, .bz2, .xz, .zst); a folder made by
            `datasets.save_to_disk`; the name of a data set on the hub; or rows in memory.
        fields: the fields each record needs.
        target_field: the column of the label; None leaves the labels unread.
        split: which part of a folder or hub set; needed where there is more than one.
        limit: read the first so many rows.
        columns: field -> the column it is read from, where that is not its own name.
        readers: field, or TARGET -> how it is read, where it is no plain text.
        optional: fields that may be empty or absent in a row.
        group_field: the column of the records' groups.

    Raises:
        DataError: nothing there, a wrong column, or a row that cannot be used, with its number.
    """
    wanted = Wanted(fields, target_field, columns or {}, readers or {}, optional, group_field)
    return wanted_records(source, wanted, split, limit)


def wanted_records(
    source: Source, wanted: Wanted, split: str | None = None, limit: int | None = None
) -> list[Record]:
    """What is wanted of each row, in one list; see `read_records`."""
    table = _whole_table(source, wanted)
    if table is not None:
        if split is not None:
            raise _no_parts(source, split)
        return records(table, wanted, limit)
    parts = _load_parts(source, wanted)
    name = next(iter(parts)) if split is None and len(parts) == 1 else split
    if name not in parts:
        raise DataError(
            "the data set has no such split" if split else "the data set has more than one split",
            where=source_name(source),
            got=split,
            expected=f"one of {', '.join(parts)}",
            hint=nearest(split, parts) if split else "name the split to read",
        )
    return records(_part_table(parts[name], _part_name(source, name), wanted), wanted, limit)


def read_splits(
    source: Source,
    *,
    fields: Sequence[str],
    target_field: str | None,
    split_field: str | None = None,
    columns: Mapping[str, str] | None = None,
    readers: Mapping[str, ColumnReader[Value]] | None = None,
    optional: Collection[str] = (),
    group_field: str | None = None,
) -> dict[Split, list[Record]]:
    """Read the records a source holds for training, validation and test.

    Parts of a folder or hub set are known by name ("dev" is validation); other parts, and parts
    without a single label, are left out with a DataWarning. A file is all training unless
    `split_field` names the column that says where each row belongs.

    Raises:
        DataError: as `read_records`; also a split's name that is unknown, or no training rows.
    """
    wanted = Wanted(fields, target_field, columns or {}, readers or {}, optional, group_field)
    return wanted_splits(source, wanted, split_field)


def wanted_splits(
    source: Source, wanted: Wanted, split_field: str | None
) -> dict[Split, list[Record]]:
    """What is wanted of each row, by split; see `read_splits`."""
    table = _whole_table(source, wanted if split_field is None else _with(wanted, split_field))
    if table is not None:
        if split_field is None:
            return {"train": records(table, wanted)}
        return _by_field(table, wanted, split_field)
    parts = _load_parts(source, wanted)
    if split_field is not None:
        if len(parts) != 1:
            raise _no_parts(source, split_field, "it has parts of its own")
        name, part = next(iter(parts.items()))
        both = _with(wanted, split_field)
        return _by_field(_part_table(part, _part_name(source, name), both), wanted, split_field)
    found: dict[Split, list[Record]] = {}
    left: list[str] = []
    for name, part in parts.items():
        known = _SPLIT_NAMES.get(name.lower())
        plain = None if TARGET in wanted.readers else wanted.target
        if known is None:
            reason = "its name is not a split's"
        elif known in found:
            reason = f"there is another {known} part before it"
        elif isinstance(part, DatasetLike) and is_unlabelled(part, plain):
            reason = "it has no labels"
        else:
            found[known] = records(_part_table(part, _part_name(source, name), wanted), wanted)
            continue
        rows = f" ({len(part):,} rows)" if isinstance(part, Sized) else ""
        left.append(f"{name!r}{rows}: {reason}")
    if left:
        known_names = ", ".join(_SPLIT_NAMES)
        text = (
            f"{source_name(source)}: left out {'; '.join(left)}. Splits are called {known_names}."
        )
        warnings.warn(DataWarning(text), stacklevel=3)
    return _with_train(found, source_name(source), ", ".join(parts))


def _whole_table(source: Source, wanted: Wanted) -> Table | None:
    """The table of a file or of rows in memory; None where the source can have parts."""
    if isinstance(source, str | Path):
        return _file_table(source, wanted)
    return None if isinstance(source, Mapping) else rows_table(source, wanted)


def _file_table(source: str | Path, wanted: Wanted) -> Table | None:
    """A file's table; None where the source is a folder or can be a hub name."""
    path = Path(source)
    reader = READERS.get(data_suffix(path))
    what = _what_is_at(path)
    if what == "a file" and reader is not None:
        return with_files(reader(path, wanted), path.parent, wanted)
    if what == "a file" and wanted.files and is_array_file(path):
        return None
    if what == "a folder" or (reader is None and not what and looks_like_hub_name(str(source))):
        return None
    if what == "a file":
        raise DataError(
            "an unknown kind of file",
            where=str(path),
            got=repr(path.suffix) if path.suffix else "a name without an ending",
            expected=f"{', '.join(READERS)}, or one of these with {', '.join(COMPRESSED)}",
            hint="rename the file after what it holds",
        )
    if what:
        raise DataError(
            "the data is not a regular file",
            where=str(path),
            got=what,
            expected=f"a file ({', '.join(READERS)}) or a saved `datasets` folder",
            hint="save what comes out of it to a file first",
        )
    raise DataError(
        "there is no such file",
        where=str(path),
        got="nothing there",
        expected="a file, a folder or the name of a data set on the hub",
        hint=nearest_beside(path),
    )


def _what_is_at(path: Path) -> str:
    """What lies at a path, in words; "" where nothing does.

    Raises:
        DataError: a folder on the way may not be searched, or links go round in circles.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, ValueError) as error:
        got = getattr(error, "strerror", None) or str(error)
        raise DataError("the file cannot be read", where=str(path), got=got) from error
    return next((words for test, words in _PLACES if test(mode)), "something else than a file")


_PLACES: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISREG, "a file"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe (FIFO)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def _load_parts(source: Source, wanted: Wanted) -> dict[str, Any]:
    """The parts of a source by name: tables, sets of the `datasets` library, or rows in memory."""
    if not isinstance(source, str | Path):
        return {str(name): part for name, part in source.items()}  # type: ignore[union-attr]
    path = Path(source)
    if wanted.files and not (path.is_dir() and is_hub_layout(path)):
        target = wanted.readers.get(TARGET)
        if target is not None and target.files and path.is_dir() and not is_saved_set(path):
            return dict(mask_parts(path))
        if wanted.target is None:
            path = images_beside_masks(path) or path
        parts = image_parts(path, labelled=wanted.target is not None)
        if parts is not None:
            return dict(parts)
    return load_folder(path) if path.is_dir() else load_hub(str(source))


def _part_table(part: Any, source: str, wanted: Wanted) -> Table:
    return part if isinstance(part, Table) else rows_table(part, wanted, source)


def _with(wanted: Wanted, split_field: str) -> Wanted:
    """Also the split's column, read as one more field."""
    return replace(wanted, fields=(*wanted.fields, split_field))


def _by_field(table: Table, wanted: Wanted, split_field: str) -> dict[Split, list[Record]]:
    key = split_field
    found: dict[Split, list[Record]] = {}
    for record in records(table, _with(wanted, split_field)):
        known = _SPLIT_NAMES.get(record.text(key).strip().lower())
        if known is None:
            raise DataError(
                "an unknown split",
                where=f"{record_place(record)}, column {split_field!r}",
                got=repr(record.text(key)),
                expected=", ".join(SPLITS),
                hint=nearest(record.text(key), SPLITS),
            )
        fields = {name: record.fields[name] for name in wanted.fields}
        found.setdefault(known, []).append(replace(record, fields=fields))
    return _with_train(found, table.source, ", ".join(found))


def _with_train(
    found: dict[Split, list[Record]], source: str, got: str
) -> dict[Split, list[Record]]:
    if "train" not in found:
        raise DataError(
            "there are no training rows", where=source, got=got, expected="a split 'train'"
        )
    return found


def _part_name(source: Source, name: str) -> str:
    return f"{source_name(source)} ({name})"


def _no_parts(source: Source, split: str, got: str = "a single file") -> DataError:
    return DataError(
        f"the source cannot be split by {split!r}",
        where=source_name(source),
        got=got,
        expected="a `datasets` folder or hub set with splits, or a file with a split column",
    )
