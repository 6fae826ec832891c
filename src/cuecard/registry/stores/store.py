"""The storage of a registry: a folder, or an object store.

Everything else relies on one property: `create` makes an object appear atomically, for exactly one
of any number of writers. Disks do that with a hard link, object stores with a conditional PUT.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from cuecard.errors import RegistryError
from cuecard.registry.stores.local import LocalStore
from cuecard.registry.stores.objects import PROTOCOLS, open_object_store

_URL = re.compile(r"^([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_THREADS = 8


# Files that desktops and file systems put into folders, besides dotfiles.
_LITTER = frozenset({"desktop.ini", "lost+found", "Thumbs.db", "@eaDir", "$RECYCLE.BIN"})


def is_litter(name: str) -> bool:
    """Whether desktops or file systems leave such files in folders, such as `.DS_Store`."""
    return name.startswith(".") or name in _LITTER


class Store(Protocol):
    """Objects by key. Keys are relative paths with "/", validated by the caller.

    Every method raises RegistryError if the store cannot be reached, read or written.
    """

    @property
    def url(self) -> str:
        """Its name in messages."""
        ...

    def create(self, key: str, content: bytes) -> bool:
        """Create an object atomically; False if the key exists."""
        ...

    def replace(self, key: str, content: bytes) -> None:
        """Create or replace an object atomically."""
        ...

    def read(self, key: str, max_bytes: int) -> bytes | None:
        """An object's content; None if it does not exist. More than max_bytes is an error."""
        ...

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted; never cached."""
        ...

    def remove(self, key: str) -> None:
        """Remove an object, if it exists."""
        ...

    def modified(self, key: str) -> float | None:
        """An object's modification time, in seconds by the store's clock; None if missing."""
        ...

    def clean(self, before: float) -> int:
        """Remove unfinished files of killed writers from before that time; returns how many."""
        ...


def open_store(place: str | Path) -> Store:
    """The store at a folder's path or a URL such as `s3://bucket/prompts`.

    Raises:
        RegistryError: an unknown protocol; see `open_object_store` for the others.
    """
    text = str(place)
    found = _URL.match(text)
    if found is None:
        try:
            return LocalStore(Path(text).expanduser())
        except RuntimeError as error:
            raise RegistryError(
                "'~' cannot be expanded: there is no home folder",
                where=text,
                got=error,
                hint="use an absolute path",
            ) from error
    protocol = found.group(1).lower()
    if protocol in ("file", "local"):
        return LocalStore(Path(text[found.end() :]))
    if protocol not in PROTOCOLS:
        raise RegistryError(
            "an unknown kind of registry",
            where=text,
            got=f"{protocol}://",
            expected="a folder, s3://bucket/path, gs://bucket/path or az://container/path",
        )
    return open_object_store(text)


def read_all(
    store: Store, keys: Iterable[str], max_bytes: int
) -> Iterator[tuple[str, bytes | None]]:
    """Read several objects in parallel, in the keys' order."""
    wanted = list(keys)
    with ThreadPoolExecutor(_THREADS) as pool:
        yield from zip(
            wanted, pool.map(lambda key: store.read(key, max_bytes), wanted), strict=True
        )
