"""Strict reading of files that somebody else may have written, and atomic writing of our own.

A file is read once, through one handle, after it is known to be a plain file of a sane size; checks
then run on those bytes. Nothing here unpickles, evaluates or follows a path from a file.

A file is written beside its place, flushed to the disk and renamed, and the folder's entry is
flushed too: a reader, a crash or a full disk sees the old file or the new one, both whole.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cuecard.errors import ArtifactError, CuecardError, FileError

PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")
_NEW_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def is_file_name(name: str) -> bool:
    """Whether a name stands for one entry of a folder: neither a path, nor "." or ".."."""
    return name not in ("", ".", "..") and Path(name).name == name


def read_bytes(
    path: Path, max_bytes: int, what: str, error: type[CuecardError] = ArtifactError
) -> bytes:
    """The bytes of a plain file, not a link, within max_bytes.

    Args:
        what: whose file it is, such as "prompt", for messages.
        error: what to raise.

    Raises:
        FileNotFoundError: there is no such file.
        CuecardError: a link, not a plain file, too large or unreadable.
    """
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError) as missing:
        raise FileNotFoundError(path) from missing
    except OSError as problem:
        raise error("cannot read the file", where=str(path), got=problem.strerror) from problem
    if stat.S_ISLNK(mode):
        raise error(
            f"a {what}'s file is a link; links are not followed",
            where=str(path),
            expected="a plain file inside the folder",
            hint="copy the folder with its links resolved (cp -rL)",
        )
    if not stat.S_ISREG(mode):
        raise error("not a plain file", where=str(path), expected="a plain file")
    try:
        # O_NOFOLLOW: the file may have become a link since the look above.
        with os.fdopen(os.open(path, _OPEN_FLAGS), "rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as problem:
        raise error("cannot read the file", where=str(path), got=problem.strerror) from problem
    if len(content) > max_bytes:
        raise error(
            f"the file is too large for a {what}",
            where=str(path),
            got=f"{path.stat().st_size} bytes",
            expected=f"at most {max_bytes} bytes",
        )
    return content


def parse_json(
    content: bytes, where: str, error: type[CuecardError] = ArtifactError
) -> dict[str, Any]:
    """One JSON object, in UTF-8, with finite numbers and no key twice.

    Raises:
        CuecardError: anything else.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise error("a JSON key occurs twice", where=where, got=", ".join(twice[:5]))
        return found

    def finite(text: str) -> float:
        number = float(text)
        if not math.isfinite(number):
            raise error("a number in the JSON is not finite", where=where, got=text)
        return number

    try:
        value = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=unique,
            parse_constant=finite,
            parse_float=finite,
        )
    except UnicodeDecodeError as problem:
        raise error("the JSON is not UTF-8", where=where, got=problem.reason) from problem
    except (ValueError, RecursionError) as problem:
        raise error("broken JSON", where=where, got=problem) from problem
    if not isinstance(value, dict):
        raise error("not a JSON object", where=where, got=type(value).__name__)
    return value


def replace_file(path: Path, content: bytes, *, private: bool = False) -> None:
    """Put a file in place whole, or leave what was there.

    Args:
        private: readable by its owner alone; otherwise as the user's umask says.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    fresh = sibling(path)
    try:
        write_flushed(fresh, content, private=private)
        os.replace(fresh, path)
    finally:
        with suppress(OSError):  # it is not there: renamed, or never made
            fresh.unlink()
    flush_folder(path.parent)


def write_text(text: str, path: str | Path) -> Path:
    """Put a text file in UTF-8 in place whole, with its folders.

    Half characters, as file names that are not UTF-8 have them, are written as escapes.

    Raises:
        FileError: the file cannot be written.
    """
    return write_bytes(text.encode("utf-8", "backslashreplace"), path)


def write_bytes(content: bytes, path: str | Path) -> Path:
    """Put a file in place whole, with its folders.

    Raises:
        FileError: the file cannot be written.
    """
    place = Path(path)
    with writing_to(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_file(place, content)
    return place


@contextmanager
def writing_to(path: str | Path) -> Iterator[None]:
    """Turn what the system says against writing here into a FileError.

    Raises:
        FileError: the block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise FileError.of(error, "cannot write the file", path) from error


def sibling(path: Path) -> Path:
    """A hidden name of its own beside a path, for what is to take the path's place."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def write_flushed(path: Path, content: bytes, *, private: bool = False) -> None:
    """Make a new file, its bytes on the disk.

    Raises:
        OSError: it exists, or cannot be written.
    """
    handle = os.open(path, _NEW_FLAGS, 0o600 if private else 0o666)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Have the disk hold the folder's entries, on file systems that can do so.

    What is in the folder is whole without it: after a power cut, the old file or the new one.
    """
    if os.name == "nt":
        return
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
