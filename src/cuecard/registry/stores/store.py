"""Where a registry's objects lie: a folder, or whatever fsspec has a file system for.

Everything above stands on one property: `create` makes an object appear whole, once, for one of any
number of writers. A disk does that with a hard link, object stores with a conditional PUT.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from cuecard.errors import RegistryError
from cuecard.lazy import lazy_module
from cuecard.registry.stores.local import LocalStore
from cuecard.registry.stores.objects import ObjectStore

fsspec = lazy_module("fsspec")

_URL = re.compile(r"^([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_READERS = 8
_EXTRAS = {"s3": "s3", "s3a": "s3"}


# What desktops and file systems put into any folder (besides names with a dot in front).
_LITTER = frozenset({"desktop.ini", "lost+found", "Thumbs.db", "@eaDir", "$RECYCLE.BIN"})


def is_litter(name: str) -> bool:
    """Whether a desktop or a file system leaves files of this name in any folder: `.DS_Store`."""
    return name.startswith(".") or name in _LITTER


class Store(Protocol):
    """Objects by key. Keys are relative paths with "/"; who makes them has checked their parts.

    Every method raises RegistryError where the store cannot be reached, read or written.
    """

    @property
    def url(self) -> str:
        """What to call it in messages."""
        ...

    def create(self, key: str, content: bytes) -> bool:
        """Make a new object, seen whole or not at all; False if the key is taken."""
        ...

    def replace(self, key: str, content: bytes) -> None:
        """Put an object in place whole, whatever was there."""
        ...

    def read(self, key: str, max_bytes: int) -> bytes | None:
        """An object's content; None where there is none. More than max_bytes is an error."""
        ...

    def names(self, folder: str) -> list[str]:
        """The names directly under a key, sorted, as of now: no cache."""
        ...

    def remove(self, key: str) -> None:
        """Take an object away; nothing happens where there is none."""
        ...

    def modified(self, key: str) -> float | None:
        """When an object came, in seconds by the store's own clock; None where there is none."""
        ...

    def clean(self, before: float) -> int:
        """Remove what killed writers left unfinished before then; how many."""
        ...


def open_store(place: str | Path) -> Store:
    """The store at a folder's path or an fsspec URL such as `s3://bucket/prompts`.

    Raises:
        RegistryError: an unknown protocol, or one whose package is not installed.
    """
    text = str(place)
    found = _URL.match(text)
    if found is None:
        try:
            return LocalStore(Path(text).expanduser())
        except RuntimeError as error:
            raise RegistryError(
                "there is no home folder for '~' to stand for",
                where=text,
                got=error,
                hint="give the folder's whole path",
            ) from error
    protocol = found.group(1).lower()
    if protocol in ("file", "local"):
        return LocalStore(Path(text[found.end() :]))
    try:
        # No cache of listings: another writer's objects have to be seen.
        system, root = fsspec.core.url_to_fs(text, use_listings_cache=False)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        raise RegistryError(
            "this kind of registry needs a package that is not installed",
            where=text,
            got=error,
            hint=f"pip install 'cuecard[{extra}]'" if extra else None,
        ) from error
    except ValueError as error:
        raise RegistryError(
            "an unknown kind of registry",
            where=text,
            got=error,
            expected="a folder, or a URL that fsspec knows, such as s3://bucket/prompts",
        ) from error
    return ObjectStore(text, system, root)


def read_all(
    store: Store, keys: Iterable[str], max_bytes: int
) -> Iterator[tuple[str, bytes | None]]:
    """Several objects, in the keys' order, a few at a time."""
    wanted = list(keys)
    with ThreadPoolExecutor(_READERS) as pool:
        yield from zip(
            wanted, pool.map(lambda key: store.read(key, max_bytes), wanted), strict=True
        )
