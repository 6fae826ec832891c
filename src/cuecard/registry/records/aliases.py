"""Aliases: `prompts/<name>/aliases/<alias>/00000001.json`, one event per move.

An alias points where its last event says, so the pointer and the audit log cannot differ: one new
object moves the alias and records who, when, from, to and why. Event n + 1 contains the target of
event n and can be created only once: a compare-and-swap, on disks and object stores alike.
"""

from __future__ import annotations

from collections.abc import Sequence

from cuecard.errors import RegistryError
from cuecard.registry.records.journal import record
from cuecard.registry.records.references import is_alias
from cuecard.registry.records.schemas import MAX_DOCUMENT_BYTES, AliasEvent, parse_document
from cuecard.registry.records.versions import PROMPTS, numbered
from cuecard.registry.stores.store import Store, read_all


def alias_names(store: Store, name: str) -> list[str]:
    """A prompt's current and former aliases; invalid names are skipped."""
    return [alias for alias in store.names(f"{PROMPTS}/{name}/aliases") if is_alias(alias)]


def read_head(store: Store, name: str, alias: str) -> AliasEvent | None:
    """An alias's last event; None if it never existed.

    Raises:
        RegistryError: a malformed event.
    """
    known = numbered(store, _folder(name, alias))
    if not known:
        return None
    content = store.read(event_key(name, alias, known[-1]), MAX_DOCUMENT_BYTES)
    return _event(store, name, alias, known[-1], content)


def read_log(store: Store, name: str, alias: str) -> list[AliasEvent]:
    """All events of an alias, oldest first.

    Raises:
        RegistryError: a malformed, missing or inserted event.
    """
    known = numbered(store, _folder(name, alias))
    keys = [event_key(name, alias, seq) for seq in known]
    found = read_all(store, keys, MAX_DOCUMENT_BYTES)
    events = [
        _event(store, name, alias, seq, content)
        for seq, (_, content) in zip(known, found, strict=True)
    ]
    last = None
    for number, event in enumerate(events, 1):
        if event.seq != number or event.before != last:
            raise RegistryError(
                "an alias's log has a gap",
                where=f"{store.url}/{event_key(name, alias, event.seq)}",
                got=f"event {event.seq}, from {event.before}",
                expected=f"event {number}, from {last}",
            )
        last = event.after
    return events


def append(store: Store, event: AliasEvent) -> bool:
    """Move an alias; False if another writer moved it first."""
    key, content = event_key(event.name, event.alias, event.seq), event.to_bytes()
    if not store.create(key, content):
        return False
    record(store, event.name, key, content)
    return True


def event_key(name: str, alias: str, seq: int) -> str:
    """The key of an event in the store."""
    return f"{_folder(name, alias)}/{seq:08d}.json"


def history(log: Sequence[AliasEvent]) -> list[int | None]:
    """An alias's targets that rollbacks go back through, the current one last.

    A rollback removes the last target instead of adding one, so several go back step by step.
    """
    found: list[int | None] = []
    for event in log:
        if event.action == "rollback":
            found = found[:-1]
        else:
            found.append(event.after)
    return found


def _folder(name: str, alias: str) -> str:
    return f"{PROMPTS}/{name}/aliases/{alias}"


def _event(store: Store, name: str, alias: str, seq: int, content: bytes | None) -> AliasEvent:
    where = f"{store.url}/{event_key(name, alias, seq)}"
    event: AliasEvent = parse_document(AliasEvent, content, where)
    if (event.name, event.alias, event.seq) != (name, alias, seq):
        raise RegistryError(
            "an event is stored under another event's key",
            where=where,
            got=f"{event.name}@{event.alias}, event {event.seq}",
            expected=f"{name}@{alias}, event {seq}",
        )
    return event
