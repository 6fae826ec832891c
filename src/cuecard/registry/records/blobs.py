"""Content by its SHA-256: `blobs/sha256/<digest>`."""

from __future__ import annotations

import hashlib

from cuecard.artifacts.files import MAX_TENSOR_BYTES
from cuecard.errors import RegistryError
from cuecard.registry.records.schemas import FileEntry
from cuecard.registry.stores.store import Store

FOLDER = "blobs/sha256"


def describe(content: bytes) -> FileEntry:
    """A version's entry for this content."""
    return FileEntry(sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def blob_key(digest: str) -> str:
    """The key of a blob in the store."""
    return f"{FOLDER}/{digest}"


def put_blob(store: Store, content: bytes) -> str:
    """Store content and return its digest; a damaged blob is replaced.

    Raises:
        RegistryError: it cannot be written.
    """
    digest = describe(content).sha256
    key = blob_key(digest)
    if not store.create(key, content) and store.read(key, MAX_TENSOR_BYTES) != content:
        store.replace(key, content)
    return digest


def get_blob(store: Store, entry: FileEntry) -> bytes:
    """A blob's content, verified against its digest.

    Raises:
        RegistryError: missing, too large, truncated or altered.
    """
    key = blob_key(entry.sha256)
    where = f"{store.url}/{key}"
    content = store.read(key, entry.size)
    if content is None:
        raise RegistryError(
            "a blob is missing", where=where, hint="push the same prompt again to restore it"
        )
    if len(content) != entry.size:
        raise RegistryError(
            "a blob is truncated",
            where=where,
            got=f"{len(content)} bytes",
            expected=f"{entry.size} bytes",
            hint="push the same prompt again to restore it",
        )
    if (found := hashlib.sha256(content).hexdigest()) != entry.sha256:
        raise RegistryError(
            "a blob was altered: its content does not match its digest",
            where=where,
            got=found,
            expected=entry.sha256,
            hint="push the same prompt again to restore it",
        )
    return content
