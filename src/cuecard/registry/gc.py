"""Garbage collection: remove unreferenced blobs, and what killed writers left.

A blob that a concurrent push relies on is never removed, whatever its age and however wrong any
clock is: see `cuecard.registry.records.leases`.
"""

from __future__ import annotations

from dataclasses import dataclass

from cuecard.errors import RegistryError
from cuecard.registry.records.blobs import FOLDER, blob_key
from cuecard.registry.records.leases import (
    COLLECTING,
    EXPIRY_SECONDS,
    PENDING,
    HeldLease,
    lease,
    leased,
)
from cuecard.registry.records.versions import deletion_key
from cuecard.registry.registry import Registry

GRACE_SECONDS = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class GarbageReport:
    """What was removed, or would be.

    Attributes:
        blobs: digests of removed blobs.
        leftovers: unfinished files and expired leases of killed processes.
        kept: unused blobs within the grace period, or leased by a writer.
    """

    blobs: tuple[str, ...]
    leftovers: int
    kept: int


def collect_garbage(
    registry: Registry, *, grace: float = GRACE_SECONDS, dry_run: bool = False
) -> GarbageReport:
    """Remove blobs that no version has referenced for a while.

    Blobs are kept for versions that are not deleted, that an alias points at, or that were deleted
    within the grace period.

    Args:
        grace: seconds, by the store's clock.
        dry_run: only report what would be removed.

    Raises:
        RegistryError: no registry, or a malformed record: nothing is removed, since its blobs are
            not known.
        ConflictError: it took more than an hour; run it again for the rest.
    """
    store = registry.store
    unused = set(store.names(FOLDER)) - _referenced(registry, None, grace)
    with lease(store, COLLECTING, unused) as held:
        now = held.written
        leftovers = 0 if dry_run else _clean(registry, now)
        # In this order: a writer whose lease has gone has published its version.
        relied_on = leased(store, PENDING, now)
        old = {digest for digest in unused - relied_on if _age(registry, digest, now) >= grace}
        doomed = sorted(old - _referenced(registry, now, grace))
        if not dry_run:
            _remove(registry, held, doomed)
    return GarbageReport(tuple(doomed), leftovers, len(unused) - len(doomed))


def _remove(registry: Registry, held: HeldLease, doomed: list[str]) -> None:
    for digest in doomed:
        held.check()
        registry.store.remove(blob_key(digest))


def _referenced(registry: Registry, now: float | None, grace: float) -> set[str]:
    """The blobs of all versions to keep.

    Args:
        now: by the store's clock; None: without deleted versions.
    """
    found: set[str] = set()
    for name in registry.names():
        pointed = set(registry.aliases(name).values())
        for version in registry.versions(name):
            deleted = version.deleted and version.number not in pointed
            if deleted and (
                now is None or _since_deletion(registry, name, version.number, now) >= grace
            ):
                continue
            found.update(entry.sha256 for entry in version.record.files.values())
    return found


def _since_deletion(registry: Registry, name: str, number: int, now: float) -> float:
    then = registry.store.modified(deletion_key(name, number))
    return 0.0 if then is None else now - then  # None: the deletion was undone


def _age(registry: Registry, digest: str, now: float) -> float:
    then = registry.store.modified(blob_key(digest))
    return 0.0 if then is None else now - then


def _clean(registry: Registry, now: float) -> int:
    """Remove what no running process can still need."""
    store = registry.store
    count = store.clean(now - EXPIRY_SECONDS)
    for folder in (PENDING, COLLECTING):
        for name in store.names(folder):
            then = store.modified(key := f"{folder}/{name}")
            if then is not None and now - then >= EXPIRY_SECONDS:
                store.remove(key)
                count += 1
    return count


def parse_duration(text: str) -> float:
    """Parse a duration such as 30m, 12h or 7d into seconds.

    Raises:
        RegistryError: not a duration.
    """
    units = {"m": 60.0, "h": 3600.0, "d": 24 * 3600.0}
    number, unit = text[:-1], text[-1:]
    if text == "0":
        return 0.0
    if not (number.isascii() and number.isdigit() and unit in units):
        raise RegistryError(
            "not a duration", where="--grace", got=text, expected="such as 30m, 12h, 7d or 0"
        )
    return int(number) * units[unit]
