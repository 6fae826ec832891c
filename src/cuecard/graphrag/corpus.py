"""The texts of a corpus, read from the kinds of files that GraphRAG reads."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from cuecard.errors import ConfigError, DataError, FileError
from cuecard.lazy import lazy_module

if TYPE_CHECKING:
    import pyarrow.parquet as parquet
else:
    parquet = lazy_module("pyarrow.parquet")

_MOST_TOLD = 5


@dataclass(frozen=True, slots=True)
class CorpusText:
    """A document.

    Attributes:
        name: its file, and its row there if it is one of several.
        fields: of its row, for what is put in front of every chunk.
    """

    name: str
    text: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SkippedText:
    """A file or a row that is not used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Corpus:
    """Documents in the order of their files' names, and what was left out."""

    texts: tuple[CorpusText, ...]
    skipped: tuple[SkippedText, ...]

    @property
    def digest(self) -> str:
        """Of all texts in their order."""
        found = hashlib.sha256()
        for each in self.texts:
            content = each.text.encode("utf-8", "surrogatepass")
            found.update(f"{len(content)}:".encode())
            found.update(content)
        return found.hexdigest()


@dataclass(frozen=True)
class CorpusFormat:
    """How a corpus is read, as a project's settings have it under `input`.

    Attributes:
        text_column: of tables; "a.b" is b in a.
        pattern: a regular expression that a file's path in the folder has to match; None for all
            files of known kinds.
    """

    text_column: str = "text"
    encoding: str = "utf-8"
    pattern: str | None = None


def read_corpus(path: str | Path, how: CorpusFormat = CorpusFormat()) -> Corpus:
    """Read a file, or a folder with all below it.

    Files of other kinds, without text, or that are not text at all are left out and listed.

    Raises:
        ConfigError: nothing is there, or the pattern is not a regular expression.
        DataError: no text is left.
        FileError: a file cannot be read.
    """
    place = Path(path)
    texts: list[CorpusText] = []
    skipped: list[SkippedText] = []
    for file, name in _files(place, how.pattern):
        found, left_out = _read_file(file, name, how)
        texts += found
        skipped += left_out
    if not texts:
        told = "; ".join(f"{each.name}: {each.reason}" for each in skipped[:_MOST_TOLD])
        raise DataError(
            "the corpus has no text",
            where=str(place),
            got=told or "no files of these kinds",
            expected=f"files that end in {', '.join(READERS)}",
        )
    return Corpus(tuple(texts), tuple(skipped))


def _files(place: Path, pattern: str | None) -> Iterator[tuple[Path, str]]:
    """Files with their names in the corpus, in the order of these."""
    if place.is_file():
        yield place, place.name
        return
    if not place.is_dir():
        raise ConfigError(
            "there is no such corpus", where=str(place), expected="a file or a folder of texts"
        )
    try:
        wanted = None if pattern is None else re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            "the pattern of files is not a regular expression", where=pattern, got=str(error)
        ) from error
    for file in sorted(place.rglob("*")):
        inside = file.relative_to(place)
        hidden = any(part.startswith(".") for part in inside.parts)
        if not hidden and file.is_file() and (wanted is None or wanted.search(inside.as_posix())):
            yield file, inside.as_posix()


def _read_file(
    file: Path, name: str, how: CorpusFormat
) -> tuple[list[CorpusText], list[SkippedText]]:
    reader = READERS.get(file.suffix.lower())
    if reader is None:
        return [], [SkippedText(name, f"a file that ends in {file.suffix or 'nothing'}")]
    try:
        content = file.read_bytes()
    except OSError as error:
        raise FileError.of(error, "a file of the corpus cannot be read", file) from error
    if not content.strip():
        return [], [SkippedText(name, "empty")]
    try:
        rows = reader(content, how)
    except _UnreadableFile as error:
        return [], [SkippedText(name, str(error))]
    texts, skipped = [], []
    for number, row in enumerate(rows, 1):
        called = name if len(rows) == 1 else f"{name}, row {number}"
        text = _value(row, how.text_column)
        if not isinstance(text, str):
            got = "no such column" if text is None else type(text).__name__
            columns = ", ".join(map(str, row)) if isinstance(row, Mapping) else "none"
            reason = f"no text in {how.text_column!r} ({got}; columns: {columns})"
            skipped.append(SkippedText(called, reason))
        elif not text.strip():
            skipped.append(SkippedText(called, "empty"))
        else:
            texts.append(CorpusText(called, text, row))
    return texts, skipped


class _UnreadableFile(Exception):  # noqa: N818 - it says why a file is left out
    """Why a file is left out."""


def _decoded(content: bytes, how: CorpusFormat) -> str:
    try:
        text = content.decode(how.encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise _UnreadableFile(f"not text in {how.encoding}") from error
    if "\x00" in text:
        raise _UnreadableFile("a binary file")
    return text.removeprefix("\ufeff")


def _plain(content: bytes, how: CorpusFormat) -> list[Any]:
    row: dict[str, Any] = {}
    for part in reversed(how.text_column.split(".")):
        row = {part: row or _decoded(content, how)}
    return [row]


def _delimited(content: bytes, how: CorpusFormat) -> list[Any]:
    text = _decoded(content, how)
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    try:
        return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise _UnreadableFile(f"not CSV: {error}") from error


def _json(content: bytes, how: CorpusFormat) -> list[Any]:
    try:
        found = json.loads(_decoded(content, how))
    except (ValueError, RecursionError) as error:
        raise _UnreadableFile(f"not JSON: {error}") from error
    return found if isinstance(found, list) else [found]


def _json_lines(content: bytes, how: CorpusFormat) -> list[Any]:
    found = []
    for number, line in enumerate(_decoded(content, how).split("\n"), 1):  # as JSONL has it
        if line.strip():
            try:
                found.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise _UnreadableFile(f"line {number} is not JSON: {error}") from error
    return found


def _parquet(content: bytes, how: CorpusFormat) -> list[Any]:
    try:
        return list(parquet.read_table(io.BytesIO(content)).to_pylist())
    except (OSError, ValueError) as error:  # pyarrow's own errors are these
        raise _UnreadableFile(f"not Parquet: {error}") from error


_Reader = Callable[[bytes, CorpusFormat], Sequence[Any]]

READERS: Mapping[str, _Reader] = MappingProxyType(
    {
        ".txt": _plain,
        ".md": _plain,
        ".csv": _delimited,
        ".json": _json,
        ".jsonl": _json_lines,
        ".parquet": _parquet,
    }
)
"""What a file's name ends in -> its rows."""


def _value(row: Any, path: str) -> Any:
    """What a row has under a path; None for nothing."""
    for part in path.split("."):
        if not isinstance(row, Mapping) or part not in row:
            return None
        row = row[part]
    return row
