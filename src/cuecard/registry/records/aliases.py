"""Aliases: `prompts/<name>/aliases/<alias>/00000001.json`, an event per move.

An alias points where its last event put it, so the pointer and the audit log cannot differ: one new
object moves the alias and records who, when, from, to and why. Event n + 1 says what event n left,
and its object can be created once: a compare-and-swap, on a disk and on an object store alike.
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
    """The aliases that a prompt has or had; names that cannot be aliases are skipped."""
    return [alias for alias in store.names(f"{PROMPTS}/{name}/aliases") if is_alias(alias)]


def read_head(store: Store, name: str, alias: str) -> AliasEvent | None:
    """An alias's last event; None where it never was.

    Raises:
        RegistryError: a broken event.
    """
    known = numbered(store, _folder(name, alias))
    if not known:
        return None
    content = store.read(event_key(name, alias, known[-1]), MAX_DOCUMENT_BYTES)
    return _event(store, name, alias, known[-1], content)


def read_log(store: Store, name: str, alias: str) -> list[AliasEvent]:
    """All events of an alias, the oldest first.

    Raises:
        RegistryError: a broken, missing or inserted event.
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
    """Where an event lies."""
    return f"{_folder(name, alias)}/{seq:08d}.json"


def places(log: Sequence[AliasEvent]) -> list[int | None]:
    """Where an alias is and was, the present last: what a rollback goes back over.

    A rollback takes the last place away instead of adding one, so several go back step by step.
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
            "an event lies in another event's place",
            where=where,
            got=f"{event.name}@{event.alias}, event {event.seq}",
            expected=f"{name}@{alias}, event {seq}",
        )
    return event
