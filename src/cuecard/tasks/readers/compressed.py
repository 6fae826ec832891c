"""Files of texts that are compressed as a whole, such as `rows.csv.gz`."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from cuecard.errors import DataError
from cuecard.lazy import lazy_module

pyarrow = lazy_module("pyarrow")


def _zstd(content: bytes) -> bytes:
    # Python itself has it from 3.14 on.
    with pyarrow.input_stream(pyarrow.BufferReader(content), compression="zstd") as stream:
        return bytes(stream.read())


COMPRESSED: Mapping[str, Callable[[bytes], bytes]] = MappingProxyType(
    {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress, ".zst": _zstd}
)
"""What a compressed file's name ends in -> what makes its content whole."""


def data_suffix(path: str | Path) -> str:
    """What a file of rows is, by its name: ".csv" of `rows.csv`, and of `rows.CSV.gz`."""
    return _plain_name(Path(path)).suffix.lower()


def data_stem(path: str | Path) -> str:
    """Its name without endings: "rows" of both."""
    return _plain_name(Path(path)).stem


def read_whole(path: Path) -> bytes:
    """A file's bytes, decompressed where its name says that they are compressed.

    Raises:
        DataError: unreadable, or not compressed in this way.
    """
    try:
        content = path.read_bytes()
        return COMPRESSED.get(path.suffix.lower(), bytes)(content)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise DataError(
            "the file cannot be read",
            where=str(path),
            got=getattr(error, "strerror", None) or str(error) or type(error).__name__,
            expected="a readable file",
        ) from error


def _plain_name(path: Path) -> Path:
    return path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
