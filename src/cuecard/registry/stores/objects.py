"""A registry in an object store, through fsspec.

`create` is a conditional PUT (`If-None-Match: *` on S3), which exactly one writer wins. Objects
appear atomically.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cuecard.errors import RegistryError

_PAUSES = (0.1, 0.3, 1.0, 3.0)  # seconds


class ObjectStore:
    """A `Store` on an fsspec file system that has `pipe_file(..., mode="create")`.

    Args:
        url: its name in messages.
        system: an `fsspec.AbstractFileSystem`, without a cache of listings.
        root: the registry's path in it.
    """

    def __init__(self, url: str, system: Any, root: str) -> None:
        self._url = url.rstrip("/")
        self._system = system
        self._root = root.rstrip("/")

    @property
    def url(self) -> str:
        return self._url

    def create(self, key: str, content: bytes) -> bool:
        with self._translating_errors(key):
            for pause in _PAUSES:
                try:
                    return self._create(key, content)
                except OSError as error:
                    if error.errno != errno.EBUSY:
                        raise
                    time.sleep(pause)  # concurrent PUTs of a key: S3 asks to retry
            return self._create(key, content)

    def replace(self, key: str, content: bytes) -> None:
        with self._translating_errors(key):
            self._system.pipe_file(self._path(key), content)

    def read(self, key: str, max_bytes: int) -> bytes | None:
        with self._translating_errors(key):
            try:
                size = int(self._system.info(self._path(key))["size"] or 0)
                if size <= max_bytes:
                    return self._content(key)
            except FileNotFoundError:
                return None
        raise RegistryError(
            "an object is too large",
            where=f"{self._url}/{key}",
            got=f"{size} bytes",
            expected=f"at most {max_bytes} bytes",
        )

    def names(self, folder: str) -> list[str]:
        path = self._path(folder)
        with self._translating_errors(folder):
            self._system.invalidate_cache()
            try:
                found = self._system.ls(path, detail=False)
            except FileNotFoundError:
                return []
        paths = {str(name).strip("/") for name in found} - {path.strip("/")}
        return sorted(name.rsplit("/", 1)[-1] for name in paths)

    def remove(self, key: str) -> None:
        with self._translating_errors(key):
            try:
                self._system.rm_file(self._path(key))
            except FileNotFoundError:
                return

    def modified(self, key: str) -> float | None:
        with self._translating_errors(key):
            self._system.invalidate_cache()
            try:
                return float(self._system.modified(self._path(key)).timestamp())
            except FileNotFoundError:
                return None

    def clean(self, before: float) -> int:
        """Nothing: an unfinished PUT leaves no object."""
        return 0

    def _create(self, key: str, content: bytes) -> bool:
        try:
            self._system.pipe_file(self._path(key), content, mode="create")
        except OSError as error:
            if not _is_taken(error):
                raise
            # A PUT retried after a lost response finds its own object.
            return self._content(key) == content
        return True

    def _content(self, key: str) -> bytes:
        return bytes(self._system.cat_file(self._path(key)))

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    @contextmanager
    def _translating_errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            # Each file system has its own errors (botocore's are not OSErrors).
            raise RegistryError(
                "cannot read or write the registry; no object was written in part",
                where=f"{self._url}/{key}",
                got=f"{type(error).__name__}: {error}",
                hint="check the address, the credentials and the bucket's permissions",
            ) from error


def _is_taken(error: OSError) -> bool:
    """Whether a conditional PUT failed because the key exists."""
    if isinstance(error, FileExistsError):
        return True
    response = getattr(error.__cause__, "response", None) or {}
    return response.get("Error", {}).get("Code") in ("PreconditionFailed", "412")
