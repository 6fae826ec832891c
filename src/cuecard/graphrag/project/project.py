"""A GraphRAG project: where its texts, its chunks' sizes and its prompts are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cuecard.errors import ConfigError
from cuecard.graphrag.chunks import ENCODING, ChunkSizes
from cuecard.graphrag.corpus import CorpusFormat
from cuecard.graphrag.project.settings_file import (
    NAMES,
    SettingValue,
    changed_settings,
    find_settings,
    read_settings,
)
from cuecard.plain_files import replace_file, write_bytes, writing_to

TYPES = ("organization", "person", "geo", "event")
"""GraphRAG's own types of entities."""


@dataclass(frozen=True)
class GraphProject:
    """A project's folder.

    Attributes:
        settings: what its settings file says; empty without one.
        file, text: the settings file; None and "" without one.
    """

    root: Path
    settings: Mapping[str, Any]
    file: Path | None
    text: str

    @classmethod
    def at(cls, root: str | Path) -> GraphProject:
        """A project in a folder, which need not exist yet.

        Raises:
            ConfigError: it is a file, or its settings cannot be read.
        """
        place = Path(root)
        if place.exists() and not place.is_dir():
            raise ConfigError(
                "a project is a folder", where="--root", got=str(place), expected="a folder"
            )
        file = find_settings(place)
        text, settings = ("", {}) if file is None else read_settings(file)
        return cls(place, settings, file, text)

    @property
    def corpus(self) -> Path:
        """Where its texts are."""
        storage = self.section("input_storage")
        base = storage.get("base_dir") or self._old_input().get("base_dir") or "input"
        return self.root / str(base)

    @property
    def format(self) -> CorpusFormat:
        """How its texts are read."""
        given = self.section("input")
        return CorpusFormat(
            str(given.get("text_column") or "text"),
            str(given.get("encoding") or "utf-8"),
            None if given.get("file_pattern") is None else str(given["file_pattern"]),
        )

    def format_of(self, other: str | Path | None) -> CorpusFormat:
        """How texts elsewhere are read, if any; the pattern is for the files of its own input."""
        return self.format if other is None else replace(self.format, pattern=None)

    @property
    def sizes(self) -> ChunkSizes:
        """Of its chunks; versions before 3 call the section `chunks`.

        Raises:
            ConfigError: sizes that are no numbers, or do not fit each other.
        """
        given = self.section("chunking") or self.section("chunks")
        usual = ChunkSizes()
        fields = given.get("prepend_metadata") or ()
        return ChunkSizes(
            self._number(given, "size", usual.size),
            self._number(given, "overlap", usual.overlap),
            tuple(map(str, fields)) if isinstance(fields, list) else (),
        )

    @property
    def by_sentences(self) -> bool:
        """Whether it has chunks of sentences instead of tokens."""
        return (self.section("chunking") or {}).get("type") == "sentence"

    @property
    def encoding(self) -> str:
        """The vocabulary that its tokens are counted in."""
        given = self.section("chunking") or self.section("chunks")
        return str(given.get("encoding_model") or ENCODING)

    @property
    def types(self) -> tuple[str, ...]:
        """Of entities, as its settings have them."""
        found = self.section("extract_graph").get("entity_types")
        return tuple(map(str, found)) if isinstance(found, list) and found else TYPES

    def section(self, name: str) -> Mapping[str, Any]:
        """A part of the settings; empty where there is none."""
        found = self.settings.get(name)
        return found if isinstance(found, dict) else {}

    def applied(self, changes: Mapping[str, SettingValue]) -> tuple[Path, bytes]:
        """The settings file and its content with other values; nothing is written.

        Raises:
            ConfigError: there is none, or it cannot be changed safely.
        """
        if self.file is None:
            raise ConfigError(
                "there are no settings to change",
                where=str(self.root),
                got="none of " + ", ".join(NAMES),
                expected="a project that `graphrag init` has made",
                hint="without --apply the prompts are written and no settings are needed",
            )
        return self.file, changed_settings(self.file, self.text, changes).encode("utf-8")

    def _old_input(self) -> Mapping[str, Any]:
        """Of version 2, where the folder is below `input`."""
        given = self.section("input")
        storage = given.get("storage")
        return storage if isinstance(storage, dict) else given

    def _number(self, given: Mapping[str, Any], key: str, usual: int) -> int:
        value = given.get(key, usual)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ConfigError(
                "not a number of tokens",
                where=f"{self.file}, chunking.{key}",
                got=value,
                expected="a whole number",
            )
        return value


def write_all(files: Mapping[Path, bytes]) -> dict[Path, Path]:
    """Put files in place, each whole; what was there before is kept beside it.

    In the order given, so that settings come after what they name. If one cannot be written, those
    before it are as they were.

    Returns:
        A file that was there with other content -> its copy, which ends in .bak, .bak2 and so on.

    Raises:
        FileError: the folder cannot be written, or the disk is full.
    """
    backups: dict[Path, Path] = {}
    old: dict[Path, bytes] = {}
    for path, content in files.items():
        with writing_to(path):
            if path.is_file() and (before := path.read_bytes()) != content:
                old[path] = before
                backups[path] = write_bytes(before, _backup_of(path, before))
    done: list[Path] = []
    new = {path for path in files if not path.exists()}
    try:
        for path, content in files.items():
            write_bytes(content, path)
            done.append(path)
    except BaseException:
        for path in done:
            if path in old:
                replace_file(path, old[path])
            elif path in new:
                path.unlink(missing_ok=True)
        raise
    return backups


def _backup_of(path: Path, content: bytes) -> Path:
    """A name beside a file that is free, or already holds the same."""
    number = 1
    while True:
        place = path.with_name(f"{path.name}.bak{number if number > 1 else ''}")
        if not place.exists() or place.read_bytes() == content:
            return place
        number += 1
