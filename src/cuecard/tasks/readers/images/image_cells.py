"""Cells that hold an image: bytes, or the name of a file beside the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cuecard.errors import DataError
from cuecard.images import MAX_BYTES, checked, from_array, from_pillow
from cuecard.lazy import lazy_module, np
from cuecard.tasks.readers.columns import ColumnReader, NamesOf
from cuecard.tasks.readers.tables import Row, Table, Wanted
from cuecard.types import Image

pillow = lazy_module("PIL.Image")


@dataclass(frozen=True, slots=True)
class FileCell:
    """A file that a row names.

    Attributes:
        folder: the data's own, beyond which no row may lead.
        name: the file's path from there.
    """

    folder: Path
    name: str

    def path(self, where: str) -> Path:
        """Where the file is.

        Raises:
            DataError: outside the data's folder.
        """
        folder = self.folder.resolve()
        try:
            found = (folder / self.name).resolve()
        except (OSError, ValueError, RuntimeError) as error:  # a NUL, a name too long, a loop
            raise DataError("the path cannot be used", where=where, got=self.name[:80]) from error
        if not found.is_relative_to(folder):
            raise DataError(
                "the path leads out of the data's folder",
                where=where,
                got=self.name[:200],
                expected=f"a file in {self.folder}",
            )
        return found


def image_column(column: str) -> ColumnReader[Image]:
    """An image: bytes, a file's path, or both as `datasets` writes them."""

    def read(values: Mapping[str, Any], names: NamesOf, where: str) -> Image:
        return checked(*image_file(values[column], f"{where}, column {column!r}"))

    return ColumnReader((column,), read, files=True)


def image_file(value: Any, place: str, what: str = "image") -> tuple[Image, str]:
    """The image of a cell, not decoded, and its place with the file's name.

    Args:
        place: the cell's.
        what: what the image is, for messages.

    Raises:
        DataError: nothing there, or a file that cannot be read.
    """
    if isinstance(value, Path):
        return _read(value, str(value), what), str(value)
    name = value.name if isinstance(value, FileCell) else value
    file = f": {name[:200]}" if isinstance(name, str) else ""
    return _image(value, place, what), place + file


def with_files(table: Table, folder: Path, wanted: Wanted) -> Table:
    """The table, whose image columns name files of a folder."""
    readers = [reader for reader in wanted.readers.values() if reader.files]
    columns = [column for reader in readers for column in reader.columns]
    if not columns:
        return table

    def rows() -> Iterator[Row]:
        for number, values in table.rows:
            cells = {name: _in(folder, values.get(name)) for name in columns if name in values}
            yield number, {**values, **cells}

    return replace(table, rows=rows())


def _in(folder: Path, value: Any) -> Any:
    if isinstance(value, Mapping) and value.get("bytes") is None:
        value = value.get("path")
    return FileCell(folder, value) if isinstance(value, str) and value.strip() else value


def _image(value: Any, place: str, what: str) -> Image:
    if isinstance(value, Mapping):
        value = value.get("bytes")
    if isinstance(value, Image):
        return value
    if isinstance(value, bytes) and value:
        return Image(value)
    if isinstance(value, FileCell):
        return _read(value.path(place), place, what)
    if isinstance(value, str) and value.strip():
        return _read(Path(value), place, what)
    if isinstance(value, np.ndarray):
        return from_array(value, place)
    if isinstance(value, pillow.Image):
        return from_pillow(value, place)
    raise DataError(
        f"there is no {what}",
        where=place,
        got="nothing" if value in (None, "", b"") else type(value).__name__,
        expected="a file's path, the bytes of one, a Pillow image or an array of uint8",
    )


def _read(path: Path, place: str, what: str) -> Image:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(
                f"the {what}'s file is too large",
                where=place,
                got=f"{path}: {path.stat().st_size:,} bytes",
                expected=f"at most {MAX_BYTES:,}",
            )
        if not path.is_file():
            raise DataError(f"the {what} is not a regular file", where=place, got=str(path))
        return Image(path.read_bytes())
    except (OSError, ValueError) as error:
        got = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"the {what}'s file cannot be read", where=place, got=f"{path}: {got}"
        ) from error
