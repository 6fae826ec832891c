"""What moves an alias or takes a version away, so that no alias ends on a deleted version.

A promotion looks for the version's deletion after it has moved the alias; a deletion looks for
aliases after it has marked the version. Each acts before it looks, so of two that meet at least one
sees the other, and takes its own act back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from cuecard.errors import ConflictError, RegistryError
from cuecard.registry.provenance import Stamp
from cuecard.registry.records.aliases import alias_names, append, places, read_head, read_log
from cuecard.registry.records.leases import relying_on
from cuecard.registry.records.schemas import AliasEvent, Deletion, Version
from cuecard.registry.records.versions import (
    is_deleted,
    mark_deleted,
    read_version,
    record_deletion,
    unmark_deleted,
)
from cuecard.registry.stores.store import Store

PromotionCheck = Callable[[Version | None, Version], Mapping[str, Any]]
_TRIES = 8


def promote(
    store: Store, stamp: Stamp, version: Version, alias: str, why: str, check: PromotionCheck | None
) -> AliasEvent:
    """Point an alias at a version; the event, or the one that did so before.

    Args:
        check: called with the version that the alias has now and the new one, and again whenever
            another writer moved the alias meanwhile. Raises to refuse the promotion; returns what
            it measured, for the log.

    Raises:
        RegistryError: a deleted version.
        PromotionError: refused by the check.
        ConflictError: deleted at the same time, or too many writers.
    """
    name, number = version.record.name, version.number
    _check_live(store, version)
    with relying_on(store, _blobs(version)):
        for _ in range(_TRIES):
            head = read_head(store, name, alias)
            now = None if head is None else head.after
            if head is not None and now == number:
                return head
            current = None if now is None else read_version(store, name, now)
            evidence = {} if check is None else dict(check(current, version))
            event = _next(stamp, version, alias, head, "promote", number, why, evidence)
            if append(store, event):
                _check_still_live(store, stamp, version, event)
                return event
    raise _too_many(store, f"{name}@{alias}")


def rollback(store: Store, stamp: Stamp, name: str, alias: str, why: str) -> AliasEvent:
    """Point an alias at where it was before.

    Raises:
        RegistryError: it was nowhere before, or on a version that is deleted.
        ConflictError: too many writers.
    """
    for _ in range(_TRIES):
        log = read_log(store, name, alias)
        past = places(log)
        target = past[-2] if len(past) > 1 else None
        if target is None:
            raise RegistryError(
                "there is nothing to roll back to" if log else "no such alias",
                where=store.url,
                got=f"{name}@{alias}",
                expected="an alias that pointed to another version before",
                hint=f"cuecard show {name}",
            )
        version = read_version(store, name, target)
        _check_live(store, version)
        event = _next(stamp, version, alias, log[-1], "rollback", target, why, {})
        with relying_on(store, _blobs(version)):
            if append(store, event):
                _check_still_live(store, stamp, version, event)
                return event
    raise _too_many(store, f"{name}@{alias}")


def remove_alias(store: Store, stamp: Stamp, name: str, alias: str, why: str) -> AliasEvent:
    """End an alias; its log stays, and a rollback brings it back.

    Raises:
        RegistryError: there is no such alias.
        ConflictError: too many writers.
    """
    for _ in range(_TRIES):
        head = read_head(store, name, alias)
        if head is None or head.after is None:
            raise RegistryError("no such alias", where=store.url, got=f"{name}@{alias}")
        version = read_version(store, name, head.after)
        event = _next(stamp, version, alias, head, "remove", None, why, {})
        if append(store, event):
            return event
    raise _too_many(store, f"{name}@{alias}")


def delete(store: Store, stamp: Stamp, version: Version, why: str) -> None:
    """Mark a version as deleted; its number stays taken.

    Raises:
        RegistryError: an alias points to it.
        ConflictError: an alias came to point to it at the same time.
    """
    name, number = version.record.name, version.number
    if holding := aliases_of(store, name, number):
        raise RegistryError(
            "an alias points to this version",
            where=store.url,
            got=", ".join(f"{name}@{alias}" for alias in holding),
            expected="a version that no alias points to",
            hint=f"promote another one first, or cuecard delete {name}@{holding[0]}",
        )
    # Until the mark is final or taken back, a collector must not act on it.
    with relying_on(store, _blobs(version)):
        mark = Deletion(name=name, number=number, **stamp.fields(why))
        new = mark_deleted(store, mark)
        if holding := aliases_of(store, name, number):
            unmark_deleted(store, name, number)
            raise ConflictError(
                "an alias was moved to this version at the same time; it was not deleted",
                where=store.url,
                got=", ".join(f"{name}@{alias}" for alias in holding),
            )
        if new:
            record_deletion(store, mark)


def aliases_of(store: Store, name: str, number: int) -> list[str]:
    """The aliases that point to a version."""
    heads = {alias: read_head(store, name, alias) for alias in alias_names(store, name)}
    return [alias for alias, head in heads.items() if head and head.after == number]


def _check_live(store: Store, version: Version) -> None:
    if version.deleted:
        raise RegistryError(
            "this version was deleted",
            where=store.url,
            got=str(version),
            expected="one that `cuecard show` lists",
            hint="pushing the same prompt again gives it a new number",
        )


def _check_still_live(store: Store, stamp: Stamp, version: Version, event: AliasEvent) -> None:
    """Take a move back whose target was deleted meanwhile."""
    name = version.record.name
    if not is_deleted(store, name, version.number):
        return
    why = f"{version} was deleted at the same time"
    # Where another writer has moved the alias on, there is nothing to take back.
    back = _next(stamp, version, event.alias, event, "rollback", event.before, why, {})
    append(store, back)
    raise ConflictError(why, where=f"{store.url}, {name}@{event.alias}")


def _next(
    stamp: Stamp,
    version: Version,
    alias: str,
    head: AliasEvent | None,
    action: Literal["promote", "rollback", "remove"],
    to: int | None,
    why: str,
    evidence: dict[str, Any],
) -> AliasEvent:
    return AliasEvent(
        name=version.record.name,
        alias=alias,
        seq=1 if head is None else head.seq + 1,
        action=action,
        before=None if head is None else head.after,
        after=to,
        evidence=evidence,
        **stamp.fields(why),
    )


def _blobs(version: Version) -> set[str]:
    return {entry.sha256 for entry in version.record.files.values()}


def _too_many(store: Store, where: str) -> ConflictError:
    return ConflictError(
        "too many writers at once", where=f"{store.url}, {where}", hint="try again"
    )
