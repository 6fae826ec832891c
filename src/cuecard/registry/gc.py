"""Remove blobs that no version names, and what killed writers left behind.

Never a blob that a push at the same time relies on, however long ago the blob was written and
however wrong anybody's clock is: see `cuecard.registry.records.leases`.
"""

from __future__ import annotations

from dataclasses import dataclass

from cuecard.errors import RegistryError
from cuecard.registry.records.blobs import FOLDER, blob_key
from cuecard.registry.records.leases import (
    COLLECTING,
    PENDING,
    VOID_SECONDS,
    HeldLease,
    announce,
    announced,
)
from cuecard.registry.records.versions import deletion_key
from cuecard.registry.registry import Registry

GRACE_SECONDS = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Collected:
    """What was removed, or would be.

    Attributes:
        blobs: digests.
        leftovers: unfinished files and void announcements of killed processes.
        kept: unused blobs that are younger than the grace period, or that a writer relies on.
    """

    blobs: tuple[str, ...]
    leftovers: int
    kept: int


def collect(
    registry: Registry, *, grace: float = GRACE_SECONDS, dry_run: bool = False
) -> Collected:
    """Remove blobs that no version has named for a while.

    Versions that are not deleted keep their blobs, and so do those that an alias points to and
    those that were deleted within the grace period.

    Args:
        grace: seconds; by the store's clock alone.
        dry_run: remove nothing, and tell what would be removed.

    Raises:
        RegistryError: no registry, or a broken record. Nothing is removed, since what it names is
            not known.
        ConflictError: it took more than an hour; what is left is for the next time.
    """
    store = registry.store
    unused = set(store.names(FOLDER)) - _named(registry, None, grace)
    with announce(store, COLLECTING, unused) as held:
        now = held.written
        leftovers = 0 if dry_run else _clean(registry, now)
        # In this order: a writer whose announcement has gone has published what it made.
        relied_on = announced(store, PENDING, now)
        old = {digest for digest in unused - relied_on if _age(registry, digest, now) >= grace}
        doomed = sorted(old - _named(registry, now, grace))
        if not dry_run:
            _remove(registry, held, doomed)
    return Collected(tuple(doomed), leftovers, len(unused) - len(doomed))


def _remove(registry: Registry, held: HeldLease, doomed: list[str]) -> None:
    for digest in doomed:
        held.check()
        registry.store.remove(blob_key(digest))


def _named(registry: Registry, now: float | None, grace: float) -> set[str]:
    """The blobs of all versions that count.

    Args:
        now: by the store's clock; None: versions that were deleted do not count.
    """
    found: set[str] = set()
    for name in registry.names():
        pointed = set(registry.aliases(name).values())
        for version in registry.versions(name):
            gone = version.deleted and version.number not in pointed
            if gone and (
                now is None or _since_deletion(registry, name, version.number, now) >= grace
            ):
                continue
            found.update(entry.sha256 for entry in version.record.files.values())
    return found


def _since_deletion(registry: Registry, name: str, number: int, now: float) -> float:
    then = registry.store.modified(deletion_key(name, number))
    return 0.0 if then is None else now - then  # None: it was taken back


def _age(registry: Registry, digest: str, now: float) -> float:
    then = registry.store.modified(blob_key(digest))
    return 0.0 if then is None else now - then


def _clean(registry: Registry, now: float) -> int:
    """Remove what no living process can still need."""
    store = registry.store
    count = store.clean(now - VOID_SECONDS)
    for folder in (PENDING, COLLECTING):
        for name in store.names(folder):
            then = store.modified(key := f"{folder}/{name}")
            if then is not None and now - then >= VOID_SECONDS:
                store.remove(key)
                count += 1
    return count


def parse_period(text: str) -> float:
    """Seconds of a text such as 30m, 12h or 7d.

    Raises:
        RegistryError: another form.
    """
    units = {"m": 60.0, "h": 3600.0, "d": 24 * 3600.0}
    number, unit = text[:-1], text[-1:]
    if text == "0":
        return 0.0
    if not (number.isascii() and number.isdigit() and unit in units):
        raise RegistryError(
            "not a period of time", where="--grace", got=text, expected="such as 30m, 12h, 7d or 0"
        )
    return int(number) * units[unit]
