"""A registry in a folder.

An object is written to a temporary file under `tmp/`, flushed to disk, and then published: with a
hard link, which fails if the name exists, or with a rename, which replaces. A process killed at any
point leaves at most a file in `tmp/`.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cuecard.errors import RegistryError

_STAGING = "tmp"
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


class LocalStore:
    """A `Store` in a folder, created with the first object."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    @property
    def url(self) -> str:
        return str(self._root)

    def create(self, key: str, content: bytes) -> bool:
        path = self._path(key)
        with self._translating_errors(key), self._staged(content) as staged:
            self._make_folder(path.parent)
            try:
                os.link(staged, path)
            except FileExistsError:
                return False
            _flush_folder(path.parent)
        return True

    def replace(self, key: str, content: bytes) -> None:
        path = self._path(key)
        with self._translating_errors(key), self._staged(content) as staged:
            self._make_folder(path.parent)
            os.replace(staged, path)
            _flush_folder(path.parent)

    def read(self, key: str, max_bytes: int) -> bytes | None:
        path = self._path(key)
        with self._translating_errors(key):
            try:
                if not stat.S_ISREG(path.lstat().st_mode):
                    raise RegistryError("not a plain file; links are not followed", where=str(path))
                # O_NOFOLLOW: it may have become a link since the check above.
                with os.fdopen(os.open(path, _READ), "rb") as file:
                    content = file.read(max_bytes + 1)
            except (FileNotFoundError, NotADirectoryError):
                return None
        if len(content) > max_bytes:
            raise RegistryError(
                "an object is too large",
                where=str(path),
                got=f"more than {max_bytes} bytes",
                expected=f"at most {max_bytes} bytes",
            )
        return content

    def names(self, folder: str) -> list[str]:
        with self._translating_errors(folder):
            try:
                return sorted(entry.name for entry in self._path(folder).iterdir())
            except (FileNotFoundError, NotADirectoryError):
                return []

    def remove(self, key: str) -> None:
        with self._translating_errors(key), suppress(FileNotFoundError):
            self._path(key).unlink()

    def modified(self, key: str) -> float | None:
        with self._translating_errors(key):
            try:
                return self._path(key).lstat().st_mtime
            except FileNotFoundError:
                return None

    def clean(self, before: float) -> int:
        old = [
            key
            for name in self.names(_STAGING)
            if (then := self.modified(key := f"{_STAGING}/{name}")) is not None and then < before
        ]
        for key in old:
            self.remove(key)
        return len(old)

    def _path(self, key: str) -> Path:
        """The path of a key, which must not leave the registry through a link."""
        path = self._root / key
        if not path.parent.resolve().is_relative_to(self._root.resolve()):
            raise RegistryError(
                "a link leads out of the registry", where=str(path), got=str(path.parent.resolve())
            )
        return path

    @contextmanager
    def _staged(self, content: bytes) -> Iterator[Path]:
        """A flushed temporary file with the content."""
        path = self._root / _STAGING / secrets.token_hex(16)
        self._make_folder(path.parent)
        try:
            handle = os.open(path, _WRITE, 0o666)
            try:
                left = memoryview(content)
                while left:
                    left = left[os.write(handle, left) :]
                os.fsync(handle)
            finally:
                os.close(handle)
            yield path
        finally:
            with suppress(FileNotFoundError):  # renamed, or never created
                path.unlink()

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        with suppress(FileExistsError):  # another writer created it
            folder.mkdir()
        _flush_folder(folder.parent)

    @contextmanager
    def _translating_errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RegistryError(
                "cannot read or write the registry; no object was written in part",
                where=str(self._root / key),
                got=error.strerror or error,
                hint="check permissions and free space, and that the file system supports hard "
                "links",
            ) from error


def _flush_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, where the system can open folders."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
