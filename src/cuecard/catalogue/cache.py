"""The user's cache folder: where it is, who may write to it, how things appear in it whole."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cuecard.errors import CatalogueError
from cuecard.lazy import lazy_module
from cuecard.plain_files import flush_folder

filelock = lazy_module("filelock")

VARIABLE = "CUECARD_CACHE"


def cache_root(environment: Mapping[str, str] | None = None, platform: str = sys.platform) -> Path:
    """The cache folder, absolute; it may not exist yet.

    `CUECARD_CACHE` where set; else the platform's own place: `$XDG_CACHE_HOME` or `~/.cache` on
    Linux, `~/Library/Caches` on macOS, `%LOCALAPPDATA%` on Windows, with `cuecard` added.

    Raises:
        CatalogueError: it would be in the home folder, and there is none.
    """
    try:
        return _place(os.environ if environment is None else environment, platform)
    except RuntimeError as error:  # a user id without an entry, as in containers, and no HOME
        raise CatalogueError(
            "there is no home folder to keep the cache in",
            got="no HOME, and this user id has no entry in the system's list of users",
            hint=f"set {VARIABLE} to a folder that you may write to",
        ) from error


def _place(env: Mapping[str, str], platform: str) -> Path:
    chosen = env.get(VARIABLE, "")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if platform == "darwin":
        return Path.home() / "Library" / "Caches" / "cuecard"
    if platform == "win32":
        local = env.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "cuecard" / "Cache"
    # The XDG specification: a relative path there is invalid and must be ignored.
    base = Path(env.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "cuecard"


@contextmanager
def locked(target: Path, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock of `target` across processes and threads; a killed holder releases it.

    Args:
        target: the file or folder to be made; the lock file `.<name>.lock` stands beside it.
        on_wait: called once if another holder has to finish first.

    Raises:
        CatalogueError: the folder around it cannot be written.
    """
    with writing_cache(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(target.parent / f".{target.name}.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            if on_wait is not None:
                on_wait()
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def workspace(target: Path) -> Iterator[Path]:
    """A new empty folder on the same disk as `target`, gone at the end whatever happens.

    To be used under `locked(target)`: what a killed process left behind is removed first.
    """
    leftovers = target.parent / f".{target.name}.partial"
    shutil.rmtree(leftovers, ignore_errors=True)
    try:
        with writing_cache(target):
            leftovers.mkdir(parents=True, exist_ok=True)
            # A fresh name: an orphaned child of a killed process may still write to the old one.
            room = Path(tempfile.mkdtemp(dir=leftovers))
        yield room
    finally:
        shutil.rmtree(leftovers, ignore_errors=True)


def publish(ready: Path, target: Path) -> None:
    """Move a finished file or folder to its place; readers see all of it or nothing of it.

    Files are flushed to the disk first. An older folder at `target` is moved aside next to
    `ready`, so `ready` must lie in a `workspace(target)`.

    Raises:
        CatalogueError: the disk is full or cannot be written.
    """
    with writing_cache(target):
        files = (
            [ready] if ready.is_file() else [path for path in ready.rglob("*") if path.is_file()]
        )
        for path in files:
            _flush(path)
        if target.is_dir() and not target.is_symlink():
            target.rename(ready.with_name(f"{ready.name}.old"))
        ready.replace(target)
        flush_folder(target.parent)


def require_room(target: Path, needed: int) -> None:
    """Check the free disk space before a long piece of work.

    Raises:
        CatalogueError: fewer than `needed` bytes are free on `target`'s disk.
    """
    place = target
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise CatalogueError(
            "there is not enough room on the disk",
            where=str(target.parent),
            got=f"{free / 1e6:.0f} MB free",
            expected=f"{needed / 1e6:.0f} MB",
            hint=f"free some space, or set {VARIABLE} to a folder on another disk",
        )


def _flush(path: Path) -> None:
    # Some writers make files that only their owner may read; a cache can be shared.
    path.chmod(path.stat().st_mode | (path.parent.stat().st_mode & 0o444))
    with path.open("r+b") as file:
        os.fsync(file.fileno())


@contextmanager
def writing_cache(target: Path) -> Iterator[None]:
    """Turn what the system says against writing in the cache into an error that says what to do.

    Raises:
        CatalogueError: the disk is full, or may not be written.
    """
    try:
        yield
    except OSError as error:
        raise CatalogueError(
            "the cache folder cannot be written",
            where=str(error.filename or target),
            got=error.strerror or str(error),
            hint=f"set {VARIABLE} to a folder that you may write to",
        ) from error
