"""The journal: `journal/00000001.json`, one entry for each version, alias event and deletion.

Each entry holds the digest of the object that was created and of the entry before it. Readers poll
for the next entry instead of listing every prompt, and `verify` finds objects that were removed or
rewritten afterwards. An entry is written right after its object: a writer that is killed in between
leaves an object without an entry, which is valid, so readers also list everything now and then.
"""

from __future__ import annotations

import hashlib
import secrets

from cuecard.errors import CuecardError, RegistryError
from cuecard.registry.records.schemas import MAX_DOCUMENT_BYTES, JournalEntry
from cuecard.registry.stores.store import Store

JOURNAL = "journal"
_TRIES = 1000


def entry_key(seq: int) -> str:
    """Where an entry is stored."""
    return f"{JOURNAL}/{seq:08d}.json"


def read_entry(store: Store, seq: int) -> tuple[JournalEntry, str] | None:
    """An entry and the SHA-256 of its bytes; None if there is none with this number.

    Raises:
        RegistryError: the store cannot be read, or the entry is malformed.
    """
    key = entry_key(seq)
    content = store.read(key, MAX_DOCUMENT_BYTES)
    if content is None:
        return None
    where = f"{store.url}/{key}"
    try:
        entry = JournalEntry.from_bytes(content, where)
    except CuecardError as error:
        raise RegistryError("a journal entry is malformed", where=where, got=error.got) from error
    if entry.seq != seq:
        raise RegistryError(
            "a journal entry has another entry's number", where=where, got=entry.seq, expected=seq
        )
    return entry, hashlib.sha256(content).hexdigest()


def last_entry(store: Store) -> int:
    """The number of the last entry, 0 if there is none; takes O(log n) requests."""

    def exists(seq: int) -> bool:
        return store.modified(entry_key(seq)) is not None

    high = 1
    while exists(high):
        high *= 2
    low = high // 2  # exists, or is 0
    while high - low > 1:
        middle = (low + high) // 2
        if exists(middle):
            low = middle
        else:
            high = middle
    return low


def record(store: Store, name: str, key: str, content: bytes) -> None:
    """Append an entry for an object that was just created.

    The object itself is in place: where the entry cannot be written, readers find the object with
    their next full listing, so that is not an error of the write.
    """
    try:
        _append(store, name, key, hashlib.sha256(content).hexdigest())
    except RegistryError:
        return


def _append(store: Store, name: str, key: str, sha256: str) -> None:
    seq = last_entry(store)
    for _ in range(_TRIES):
        last = store.read(entry_key(seq), MAX_DOCUMENT_BYTES) if seq else None
        entry = JournalEntry(
            seq=seq + 1,
            previous=None if last is None else hashlib.sha256(last).hexdigest(),
            name=name,
            key=key,
            sha256=sha256,
            id=secrets.token_hex(16),
        )
        if store.create(entry_key(seq + 1), entry.to_bytes()):
            return
        seq += 1  # another writer took the number
