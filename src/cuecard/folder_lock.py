"""A folder that one process uses at a time.

The lock is the operating system's (flock): it is released when the process ends, however it ends.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cuecard.errors import FileError, TrainingError
from cuecard.lazy import lazy_module

if TYPE_CHECKING:
    from filelock import BaseFileLock

filelock = lazy_module("filelock")

LOCK = ".lock"
_SYSTEM_LOCKS = Path("/proc/locks")


@contextmanager
def held(folder: Path | None) -> Iterator[None]:
    """Make a folder and be the only process that uses it; in this thread it may be held again.

    Raises:
        FileError: the folder cannot be made.
        TrainingError: another process uses it.
    """
    if folder is None:
        yield
        return
    lock = _lock(folder)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def locked_inodes() -> frozenset[int] | None:
    """The inodes of all files that some process has locked; None where the system does not say.

    To look at whether a folder is in use by taking its lock would stop a run that starts meanwhile.
    """
    try:
        lines = _SYSTEM_LOCKS.read_text(encoding="ascii").splitlines()
        # 1: FLOCK  ADVISORY  WRITE 4711 08:01:2625 0 EOF; who waits for a lock has an arrow.
        fields = [line.split() for line in lines if "->" not in line]
        return frozenset(int(field[5].rpartition(":")[2]) for field in fields)
    except (OSError, ValueError, IndexError):
        return None


def _lock(folder: Path) -> BaseFileLock | None:
    """The folder's lock, taken; None on a file system that has no locks."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = str(folder.resolve() / LOCK)
        lock: BaseFileLock = filelock.FileLock(path, is_singleton=True, fallback_to_soft=False)
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise TrainingError(
            "another process is using this run folder",
            where=str(folder),
            got="a run that has not ended",
            expected="one process at a time",
            hint="wait until it ends, or choose another folder",
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
            return None
        raise FileError.of(error, "the run folder cannot be written", folder) from error
    return lock
