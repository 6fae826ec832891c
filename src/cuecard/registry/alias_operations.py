"""Promote, roll back, remove and delete, such that no alias ends on a deleted version.

A promotion moves the alias, then checks whether the version was deleted; a deletion marks the
version, then checks for aliases. Since each writes before it checks, at least one of two concurrent
operations sees the other and undoes its own write.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from cuecard.errors import ConflictError, RegistryError
from cuecard.registry.provenance import Provenance
from cuecard.registry.records.aliases import alias_names, append, history, read_head, read_log
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
    store: Store,
    provenance: Provenance,
    version: Version,
    alias: str,
    why: str,
    check: PromotionCheck | None,
) -> AliasEvent:
    """Point an alias at a version; returns the event, or the earlier one that did so.

    Args:
        check: called with the current version and the new one, and again if another writer moves
            the alias meanwhile. It raises to refuse the promotion, and returns measurements for the
            log.

    Raises:
        RegistryError: the version was deleted.
        PromotionError: refused by the check.
        ConflictError: deleted at the same time, or too many concurrent writers.
    """
    name, number = version.record.name, version.number
    _check_live(store, version)
    with relying_on(store, _blobs(version)):
        for _ in range(_TRIES):
            head = read_head(store, name, alias)
            target = None if head is None else head.after
            if head is not None and target == number:
                return head
            current = None if target is None else read_version(store, name, target)
            evidence = {} if check is None else dict(check(current, version))
            event = _next(provenance, version, alias, head, "promote", number, why, evidence)
            if append(store, event):
                _check_still_live(store, provenance, version, event)
                return event
    raise _too_many(store, f"{name}@{alias}")


def rollback(store: Store, provenance: Provenance, name: str, alias: str, why: str) -> AliasEvent:
    """Point an alias at its previous version.

    Raises:
        RegistryError: it has no previous version, or that was deleted.
        ConflictError: too many concurrent writers.
    """
    for _ in range(_TRIES):
        log = read_log(store, name, alias)
        past = history(log)
        target = past[-2] if len(past) > 1 else None
        if target is None:
            raise RegistryError(
                "there is nothing to roll back to" if log else "no such alias",
                where=store.url,
                got=f"{name}@{alias}",
                expected="an alias with a previous version",
                hint=f"cuecard show {name}",
            )
        version = read_version(store, name, target)
        _check_live(store, version)
        event = _next(provenance, version, alias, log[-1], "rollback", target, why, {})
        with relying_on(store, _blobs(version)):
            if append(store, event):
                _check_still_live(store, provenance, version, event)
                return event
    raise _too_many(store, f"{name}@{alias}")


def remove_alias(
    store: Store, provenance: Provenance, name: str, alias: str, why: str
) -> AliasEvent:
    """Remove an alias; its log stays, and a rollback restores it.

    Raises:
        RegistryError: no such alias.
        ConflictError: too many concurrent writers.
    """
    for _ in range(_TRIES):
        head = read_head(store, name, alias)
        if head is None or head.after is None:
            raise RegistryError("no such alias", where=store.url, got=f"{name}@{alias}")
        version = read_version(store, name, head.after)
        event = _next(provenance, version, alias, head, "remove", None, why, {})
        if append(store, event):
            return event
    raise _too_many(store, f"{name}@{alias}")


def delete(store: Store, provenance: Provenance, version: Version, why: str) -> None:
    """Mark a version as deleted; its number is never reused.

    Raises:
        RegistryError: an alias points at it.
        ConflictError: an alias was moved to it at the same time.
    """
    name, number = version.record.name, version.number
    if aliases := aliases_of(store, name, number):
        raise RegistryError(
            "an alias points at this version",
            where=store.url,
            got=", ".join(f"{name}@{alias}" for alias in aliases),
            expected="a version without an alias",
            hint=f"promote another one first, or cuecard delete {name}@{aliases[0]}",
        )
    # Until the mark is final or undone, garbage collection must not act on it.
    with relying_on(store, _blobs(version)):
        mark = Deletion(name=name, number=number, **provenance.fields(why))
        new = mark_deleted(store, mark)
        if aliases := aliases_of(store, name, number):
            unmark_deleted(store, name, number)
            raise ConflictError(
                "an alias was moved to this version at the same time; it was not deleted",
                where=store.url,
                got=", ".join(f"{name}@{alias}" for alias in aliases),
            )
        if new:
            record_deletion(store, mark)


def aliases_of(store: Store, name: str, number: int) -> list[str]:
    """The aliases that point at a version."""
    heads = {alias: read_head(store, name, alias) for alias in alias_names(store, name)}
    return [alias for alias, head in heads.items() if head and head.after == number]


def _check_live(store: Store, version: Version) -> None:
    if version.deleted:
        raise RegistryError(
            "this version was deleted",
            where=store.url,
            got=str(version),
            expected="a version that `cuecard show` lists",
            hint="push the same prompt again: it gets a new number",
        )


def _check_still_live(
    store: Store, provenance: Provenance, version: Version, event: AliasEvent
) -> None:
    """Undo a move whose target was deleted meanwhile."""
    name = version.record.name
    if not is_deleted(store, name, version.number):
        return
    why = f"{version} was deleted at the same time"
    # If another writer has moved the alias since, there is nothing to undo.
    back = _next(provenance, version, event.alias, event, "rollback", event.before, why, {})
    append(store, back)
    raise ConflictError(why, where=f"{store.url}, {name}@{event.alias}")


def _next(
    provenance: Provenance,
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
        **provenance.fields(why),
    )


def _blobs(version: Version) -> set[str]:
    return {entry.sha256 for entry in version.record.files.values()}


def _too_many(store: Store, where: str) -> ConflictError:
    return ConflictError(
        "too many concurrent writers", where=f"{store.url}, {where}", hint="try again"
    )
