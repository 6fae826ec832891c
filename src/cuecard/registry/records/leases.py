"""Leases protect a writer's blobs from concurrent garbage collection, without locks or clocks.

A writer leases the blobs it relies on under `pending/`, then checks for collectors. A collector
leases the blobs it may remove under `collecting/`, then checks for writers. Since each writes
before it checks, at least one of two concurrent processes sees the other: the collector spares
leased blobs, and the writer waits while a collector holds blobs it needs.

Leases of killed processes expire after a day by the store's clock, which made both times compared.
Their holders stop relying on them after an hour of monotonic time.
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
EXPIRY_SECONDS = 24 * 3600.0
WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.5


class HeldLease:
    """A lease held by this process."""

    def __init__(self, store: Store, key: str) -> None:
        self._store = store
        self._key = key
        self._since = time.monotonic()

    @property
    def written(self) -> float:
        """When it was written, by the store's clock.

        Raises:
            ConflictError: it no longer exists.
        """
        then = self._store.modified(self._key)
        if then is None:
            raise self._lost()
        return then

    def check(self) -> None:
        """Check that it is valid, right before what depends on it.

        Raises:
            ConflictError: it no longer exists, or is too old.
        """
        if time.monotonic() - self._since > HOLD_SECONDS:
            raise self._lost()
        _ = self.written

    def _lost(self) -> ConflictError:
        return ConflictError(
            "this took too long: the lease on its blobs has expired, and nothing was published",
            where=f"{self._store.url}/{self._key}",
            hint="try again",
        )


@contextmanager
def lease(store: Store, folder: str, blobs: Collection[str]) -> Iterator[HeldLease]:
    """Lease blobs for the duration of the block."""
    nonce = secrets.token_hex(16)
    key = f"{folder}/{nonce}.json"
    store.create(key, Lease(blobs=sorted(blobs), id=nonce).to_bytes())
    try:
        yield HeldLease(store, key)
    finally:
        store.remove(key)


@contextmanager
def relying_on(store: Store, blobs: Collection[str]) -> Iterator[HeldLease]:
    """Lease blobs, whether or not they exist yet, and wait for collectors that may remove them.

    Raises:
        ConflictError: such a collector did not finish within a minute.
    """
    with lease(store, PENDING, blobs) as held:
        deadline = time.monotonic() + WAIT_SECONDS
        while conflicts := set(blobs) & leased(store, COLLECTING, held.written):
            if time.monotonic() >= deadline:
                raise ConflictError(
                    "garbage collection is running on blobs that this needs",
                    where=f"{store.url}/{COLLECTING}",
                    got=f"{len(conflicts)} blobs",
                    hint="wait for `cuecard gc` to end and try again; the lease of a killed one "
                    "expires after a day",
                )
            time.sleep(_POLL_SECONDS)
        yield held


def leased(store: Store, folder: str, now: float) -> set[str]:
    """All blobs in a folder's valid leases.

    Args:
        now: by the store's clock.
    """
    keys = [
        key
        for name in store.names(folder)
        if (then := store.modified(key := f"{folder}/{name}")) is not None
        and now - then < EXPIRY_SECONDS
    ]
    found: set[str] = set()
    for key, content in read_all(store, keys, MAX_DOCUMENT_BYTES):
        if content is not None:  # None: released meanwhile
            found.update(Lease.from_bytes(content, f"{store.url}/{key}").blobs)
    return found
