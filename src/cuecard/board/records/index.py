"""The runs below a folder. A file is read again only when its size or its time has changed."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cuecard.board.missing import MissingError
from cuecard.comparison.contest.standing import FILE as CONTESTANT
from cuecard.folder_lock import LOCK, locked_inodes
from cuecard.runs.run_kinds import KINDS, RunKind
from cuecard.search.journal import FILE as JOURNAL
from cuecard.training.storage.log import FILE as LOG

T = TypeVar("T")
Stamp = tuple[int, int] | None
"""A file's time and size; None where there is none."""

_DEEPEST = 4  # folders below the root in which runs are looked for
_DEEPEST_PART = 4
# What makes a folder in a run's a part that has a page.
_PART = (LOG, CONTESTANT)
_MOST_KEPT = 4_096
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(~[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_IN_USE_SECONDS = 120.0


@dataclass(frozen=True)
class RunPlace:
    """A run's folder.

    Attributes:
        slug: what addresses call it.
        name: its path below the root.
        kind: None for a part of another run, such as a sweep's trial.
        files: the names in the folder, with the times and sizes of its files.
        used: whether a process works in it.
    """

    slug: str
    name: str
    folder: Path
    kind: RunKind | None
    files: dict[str, tuple[int, int]]
    used: bool

    def stamp(self, name: str) -> Stamp:
        """What changes when a file does; one below the folder is looked up."""
        return _stat(self.folder / name) if "/" in name else self.files.get(name)

    @property
    def changed(self) -> float:
        """When its log, settings or result were last written; seconds since 1970."""
        names = (*_PART, JOURNAL, *(() if self.kind is None else (self.kind.file, self.kind.done)))
        return max((self.files[name][0] / 1e9 for name in names if name in self.files), default=0.0)


class FileCache:
    """Values made of files, kept while the files stay what they are."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[Stamp, Any]] = {}
        self._lock = threading.Lock()

    def get(self, place: RunPlace, what: str, stamp: Stamp, make: Callable[[], T]) -> T:
        """A value, made anew if the stamp is another one."""
        key = (place.slug, what)
        with self._lock:
            found = self._kept.get(key)
            if found is not None and found[0] == stamp:
                value: T = found[1]
                return value
        value = make()
        with self._lock:
            self._kept.pop(key, None)
            while len(self._kept) >= _MOST_KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = (stamp, value)
        return value


class RunIndex:
    """The runs below a folder.

    Args:
        root: need not exist. Itself a run's folder, it is the only run.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def runs(self) -> list[RunPlace]:
        """All runs, without the parts that a run's own folder holds, by name."""
        found = self._runs(self.root, "", 0, locked_inodes())
        return sorted(found, key=lambda place: place.name)

    def find(self, slug: str) -> RunPlace:
        """A run or a part of one by what addresses call it.

        Raises:
            MissingError: it is not among those that there are.
        """
        return self._find(slug, self.runs())

    def find_all(self, slugs: Sequence[str]) -> list[RunPlace]:
        """Several of them, the folders looked through once.

        Raises:
            MissingError: as `find`.
        """
        runs = self.runs()
        return [self._find(slug, runs) for slug in slugs]

    def _find(self, slug: str, runs: Sequence[RunPlace]) -> RunPlace:
        for place in runs:
            if place.slug == slug:
                return place
        owner = next((place for place in runs if slug.startswith(f"{place.slug}~")), None)
        for part in [] if owner is None else self.parts(owner):
            if part.slug == slug:
                return part
        raise MissingError("there is no such run", where=str(self.root), got=slug)

    def parts(self, place: RunPlace) -> list[RunPlace]:
        """The folders below a run's that are runs or contestants of their own, by name."""
        found = list(_parts(place.folder, place.name, _DEEPEST_PART, locked_inodes()))
        return sorted(found, key=lambda part: part.name)

    def _runs(
        self, folder: Path, name: str, depth: int, locked: frozenset[int] | None
    ) -> Iterator[RunPlace]:
        place, inside = _scan(folder, name or folder.resolve().name, locked)
        if place.kind is not None:
            yield place
        elif depth < _DEEPEST:
            for inner in inside:
                below = f"{name}/{inner.name}" if name else inner.name
                yield from self._runs(inner, below, depth + 1, locked)


def slug_of(name: str) -> str:
    """A run's name as a part of an address: as it is where it is plain, else with a digest."""
    joined = name.replace("/", "~")
    if "~" not in name and _PLAIN.fullmatch(joined):
        return joined
    # Parts of one run keep its slug in front.
    return "~".join(map(_plain_part, name.split("/")))


def _plain_part(part: str) -> str:
    if "~" not in part and _PLAIN.fullmatch(part):
        return part
    kept = re.sub(r"[^A-Za-z0-9_]+", "-", part)[:40].strip("-") or "run"
    digest = hashlib.sha256(part.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{kept}-{digest[:12]}"


def _scan(folder: Path, name: str, locked: frozenset[int] | None) -> tuple[RunPlace, list[Path]]:
    """What a folder is, and the folders in it; links are not followed, which may lead back up."""
    files, folders = {}, []
    for entry in _entries(folder):
        if entry.is_dir(follow_symlinks=False):
            folders.append(Path(entry.path))
            files[entry.name] = (0, 0)
        elif (found := _stat(Path(entry.path))) is not None:
            files[entry.name] = found
    kind = next((kind for kind in KINDS if kind.file in files), None)
    used = LOCK in files and _is_used(folder / LOCK, files, locked)
    return RunPlace(slug_of(name), name, folder, kind, files, used), sorted(folders)


def _parts(
    folder: Path, name: str, depth: int, locked: frozenset[int] | None
) -> Iterator[RunPlace]:
    for inner in _scan(folder, name, locked)[1]:
        part = _scan(inner, f"{name}/{inner.name}", locked)[0]
        if part.kind is not None or any(name in part.files for name in _PART):
            yield part
        if depth > 1:
            yield from _parts(inner, part.name, depth - 1, locked)


def _is_used(lock: Path, files: dict[str, tuple[int, int]], locked: frozenset[int] | None) -> bool:
    if locked is None:
        newest = max(changed for changed, _ in files.values()) / 1e9
        return time.time() - newest < _IN_USE_SECONDS
    try:
        return lock.stat().st_ino in locked
    except OSError:
        return False


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _stat(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
