"""Strict reading of files that somebody else may have written, whatever they hold.

A file is read once, through one handle, after it is known to be a plain file of a sane size; checks
then run on those bytes. Nothing here unpickles, evaluates or follows a path from a file.
"""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

from cuecard.errors import ArtifactError, CuecardError

PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


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
            raise error("a JSON key stands twice", where=where, got=", ".join(twice[:5]))
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
