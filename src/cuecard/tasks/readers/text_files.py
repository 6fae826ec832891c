"""Bytes -> text, strictly."""

from __future__ import annotations

import codecs
from pathlib import Path

from cuecard.errors import DataError
from cuecard.tasks.readers.compressed import read_whole

# UTF-32 before UTF-16: the little-endian marks begin alike.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: Path) -> str:
    """A file's text, decompressed if need be: UTF-8, or what its byte order mark says.

    Raises:
        DataError: unreadable or empty, bytes that are not text in that encoding, a NUL.
    """
    data = read_whole(path)
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        # Of the decoded bytes, so without the mark that utf-8-sig takes off first.
        start = error.start + (len(codecs.BOM_UTF8) if encoding == "utf-8-sig" else 0)
        line = data.count(b"\n", 0, start) + 1
        raise DataError(
            f"the file is not valid {encoding.removesuffix('-sig').upper()}",
            where=f"{path}, row {line}",
            got=f"byte 0x{data[start]:02x} at offset {start}",
            expected="UTF-8, or UTF-16 with a byte order mark",
            hint="save the file as UTF-8",
        ) from error
    if not text.strip():
        raise DataError("the file is empty", where=str(path), got="no text", expected="some text")
    _refuse_nul(text, path)
    return text


def _refuse_nul(text: str, path: Path) -> None:
    at = text.find("\0")
    if at >= 0:
        line = text.count("\n", 0, at) + 1
        raise DataError(
            "the file has a NUL character",
            where=f"{path}, row {line}",
            got=f"character {at} is NUL",
            expected="text without NUL",
            hint="a UTF-16 file without a byte order mark looks like this: save it as UTF-8",
        )
