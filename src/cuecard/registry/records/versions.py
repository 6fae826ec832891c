"""A prompt's versions: `prompts/<name>/versions/00000003.json`, numbered without gaps.

The first writer to create the next number's object gets the number; others take the one after. A
deleted version keeps its record and gets a deletion mark, so numbers are never reused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from cuecard.errors import ConflictError, RegistryError
from cuecard.registry.records.journal import record as record_write
from cuecard.registry.records.schemas import (
    MAX_DOCUMENT_BYTES,
    Deletion,
    Version,
    VersionRecord,
    parse_document,
)
from cuecard.registry.stores.store import Store, read_all

PROMPTS = "prompts"
_NUMBERED = re.compile(r"[0-9]{8}\.json", re.ASCII)
_TRIES = 1000


def version_key(name: str, number: int) -> str:
    """The key of a version's record in the store."""
    return f"{PROMPTS}/{name}/versions/{number:08d}.json"


def deletion_key(name: str, number: int) -> str:
    """The key of a version's deletion mark in the store."""
    return f"{PROMPTS}/{name}/deleted/{number:08d}.json"


def numbers(store: Store, name: str, kind: str = "versions") -> list[int]:
    """The numbers of the versions, or of deleted ones (kind "deleted"), ascending."""
    return numbered(store, f"{PROMPTS}/{name}/{kind}")


def numbered(store: Store, folder: str) -> list[int]:
    """The numbers of the objects `00000001.json` ... in a folder, ascending.

    Other names are skipped, so that files left by desktops and backups do not make a prompt
    unreadable; `verify` reports them.
    """
    return [int(name[:8]) for name in store.names(folder) if is_numbered(name)]


def is_numbered(name: str) -> bool:
    """Whether this is the name of a numbered object: `00000001.json`."""
    return _NUMBERED.fullmatch(name) is not None


def read_version(store: Store, name: str, number: int) -> Version:
    """One version.

    Raises:
        RegistryError: it does not exist, or its record is malformed.
    """
    key = version_key(name, number)
    content = store.read(key, MAX_DOCUMENT_BYTES)
    if content is None:
        known = numbers(store, name)
        raise RegistryError(
            "no such version" if known else "no such prompt",
            where=store.url,
            got=f"{name}@{number}",
            expected=f"1 to {known[-1]}" if known else "a name that `cuecard list` shows",
        )
    return _version(store, name, number, content, is_deleted(store, name, number))


def read_versions(store: Store, name: str) -> list[Version]:
    """All versions by number, deleted ones included.

    Raises:
        RegistryError: a malformed record.
    """
    known = numbers(store, name)
    deleted = set(numbers(store, name, "deleted"))
    keys = [version_key(name, number) for number in known]
    found = read_all(store, keys, MAX_DOCUMENT_BYTES)
    return [
        _version(store, name, number, content, number in deleted)
        for number, (_, content) in zip(known, found, strict=True)
    ]


def is_deleted(store: Store, name: str, number: int) -> bool:
    """Whether a version was deleted."""
    return store.modified(deletion_key(name, number)) is not None


def add_version(
    store: Store,
    name: str,
    content: str,
    make: Callable[[int], VersionRecord],
    before: Callable[[bytes], Callable[[], None]],
) -> tuple[Version, bool]:
    """Publish a version under the next free number, unless its content is published.

    Args:
        content: the record's `VersionRecord.content`.
        make: number -> the record.
        before: called with the record's bytes right before they are published, to write what must
            be there by then. It returns a function that undoes that if another writer gets the
            number.

    Returns:
        The version, and whether it is new.

    Raises:
        RegistryError: it cannot be written.
    """
    versions = read_versions(store, name)
    for version in versions:
        if version.record.content == content and not version.deleted:
            return version, False
    number = versions[-1].number if versions else 0
    for _ in range(_TRIES):
        number += 1
        record = make(number)
        written = record.to_bytes()
        undo = before(written)
        if store.create(version_key(name, number), written):
            record_write(store, name, version_key(name, number), written)
            return Version(record, hashlib.sha256(written).hexdigest()), True
        undo()
        other = read_version(store, name, number)
        if other.record.content == content and not other.deleted:
            return other, False
    raise ConflictError(
        "too many concurrent writers", where=f"{store.url}, {name}", hint="try again"
    )


def mark_deleted(store: Store, deletion: Deletion) -> bool:
    """Mark a version as deleted; False if it is marked already.

    The mark may still be undone; `record_deletion` makes it final.
    """
    return store.create(deletion_key(deletion.name, deletion.number), deletion.to_bytes())


def record_deletion(store: Store, deletion: Deletion) -> None:
    """Record a deletion mark in the journal."""
    key = deletion_key(deletion.name, deletion.number)
    record_write(store, deletion.name, key, deletion.to_bytes())


def unmark_deleted(store: Store, name: str, number: int) -> None:
    """Undo a deletion mark."""
    store.remove(deletion_key(name, number))


def _version(store: Store, name: str, number: int, content: bytes | None, deleted: bool) -> Version:
    where = f"{store.url}/{version_key(name, number)}"
    record: VersionRecord = parse_document(VersionRecord, content, where)
    if (record.name, record.number) != (name, number):
        raise RegistryError(
            "a version's record is stored under another version's key",
            where=where,
            got=f"{record.name}@{record.number}",
            expected=f"{name}@{number}",
        )
    return Version(record, hashlib.sha256(content or b"").hexdigest(), deleted)
