"""How writers keep blobs from a collector that runs at the same time, without locks or clocks.

A writer announces the blobs it relies on under `pending/`, and then looks for collectors. A
collector announces the blobs that it may remove under `collecting/`, and then looks for writers.
Each announces before it looks, so of two that meet at least one sees the other: the collector
spares what a writer announced, the writer waits while a collector announces what it needs.

Announcements of killed processes are void after a day by the store's clock, which made both times
that are compared. Their holders stop acting on them after an hour by a clock that nobody sets.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from cuecard.errors import ConflictError
from cuecard.registry.records.schemas import MAX_DOCUMENT_BYTES, Lease
from cuecard.registry.stores.store import Store, read_all

PENDING = "pending"
COLLECTING = "collecting"
HOLD_SECONDS = 3600.0
VOID_SECONDS = 24 * 3600.0
WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.5


class HeldLease:
    """A lease that this process announced and holds."""

    def __init__(self, store: Store, key: str) -> None:
        self._store = store
        self._key = key
        self._since = time.monotonic()

    @property
    def written(self) -> float:
        """When it was written, by the store's clock.

        Raises:
            ConflictError: it is there no more.
        """
        then = self._store.modified(self._key)
        if then is None:
            raise self._lost()
        return then

    def check(self) -> None:
        """Make sure that it still counts, right before what depends on it.

        Raises:
            ConflictError: it is there no more, or too old.
        """
        if time.monotonic() - self._since > HOLD_SECONDS:
            raise self._lost()
        _ = self.written

    def _lost(self) -> ConflictError:
        return ConflictError(
            "this took so long that its blobs are safe no more; nothing was published",
            where=f"{self._store.url}/{self._key}",
            hint="do it again",
        )


@contextmanager
def announce(store: Store, folder: str, blobs: Collection[str]) -> Iterator[HeldLease]:
    """Announce blobs for as long as the block runs."""
    nonce = secrets.token_hex(16)
    key = f"{folder}/{nonce}.json"
    store.create(key, Lease(blobs=sorted(blobs), id=nonce).to_bytes())
    try:
        yield HeldLease(store, key)
    finally:
        store.remove(key)


@contextmanager
def relying_on(store: Store, blobs: Collection[str]) -> Iterator[HeldLease]:
    """Hold blobs, there already or not, for as long as the block runs.

    Raises:
        ConflictError: a collector that may be removing some of them did not end within a minute.
    """
    with announce(store, PENDING, blobs) as held:
        deadline = time.monotonic() + WAIT_SECONDS
        while meeting := set(blobs) & announced(store, COLLECTING, held.written):
            if time.monotonic() >= deadline:
                raise ConflictError(
                    "a collection of unused blobs is at work on what this needs",
                    where=f"{store.url}/{COLLECTING}",
                    got=f"{len(meeting)} blobs",
                    hint="wait for `cuecard gc` to end and do it again; one that was killed counts "
                    "for a day",
                )
            time.sleep(_POLL_SECONDS)
        yield held


def announced(store: Store, folder: str, now: float) -> set[str]:
    """All blobs under a folder's announcements that are not void.

    Args:
        now: the time by the store's clock.
    """
    keys = [
        key
        for name in store.names(folder)
        if (then := store.modified(key := f"{folder}/{name}")) is not None
        and now - then < VOID_SECONDS
    ]
    found: set[str] = set()
    for key, content in read_all(store, keys, MAX_DOCUMENT_BYTES):
        if content is not None:  # its holder is done
            found.update(Lease.from_bytes(content, f"{store.url}/{key}").blobs)
    return found
