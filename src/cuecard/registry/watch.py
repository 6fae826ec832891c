"""Polls a registry: a full listing at first, then only what the journal says has changed.

Versions and an alias's events never change once they are written, and a deletion leaves the record
in place, so nothing ever disappears from a registry. What has disappeared nevertheless is a volume
that is half mounted, or damage, and counts as unreadable.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from cuecard.errors import CuecardError, RegistryError
from cuecard.registry import Registry, Version
from cuecard.registry.records.aliases import alias_names, event_key, read_head
from cuecard.registry.records.journal import last_entry, read_entry
from cuecard.registry.records.versions import PROMPTS, numbered, numbers, read_version

_READERS = 8
FULL_SECONDS = 60.0
"""Between full listings. They find what a writer that was killed has not entered into the journal,
and what older versions of cuecard write."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One name in a registry.

    Attributes:
        versions: by number, those that are not deleted and whatever an alias leads to.
        aliases: alias -> number.
        unreadable: number -> why its record cannot be read.
    """

    versions: Mapping[int, Version]
    aliases: Mapping[str, int]
    unreadable: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listing:
    """What a poll found.

    Attributes:
        names: name -> what it has, or why that cannot be read.
        complete: whether these are all names of the registry, or only those that may have changed.
    """

    names: Mapping[str, Listed | CuecardError]
    complete: bool


class RegistryReader:
    """Reads a registry again and again; remembers what cannot change.

    Args:
        registry: what to read.
        clock: seconds; decides when the next full listing is due.
    """

    def __init__(self, registry: Registry, clock: Callable[[], float] = time.monotonic) -> None:
        self.registry = registry
        self.identity: str | None = None
        self._clock = clock
        self._versions: dict[tuple[str, int], Version] = {}
        self._events: dict[str, int | None] = {}
        self._numbers: dict[str, set[int]] = {}
        self._seq = 0
        self._listed_at: float | None = None

    def remember(self, identity: str | None, names: Collection[str]) -> None:
        """Tell which names a registry had when it was last read, by an earlier process."""
        self.identity = identity
        self._numbers = {name: set() for name in names}

    def forget(self) -> None:
        """List everything next time: what the last poll told was not taken over."""
        self._listed_at = None

    def poll(self, again: Collection[str] = ()) -> Listing:
        """What may have changed since the last poll; everything at first and once a minute.

        Without changes this takes two reads, however many prompts there are.

        Args:
            again: names to read whether they have changed or not.

        Raises:
            RegistryError: the registry cannot be read, or has lost its prompts.
        """
        identity = self.registry.identity()
        due = self._listed_at is None or self._clock() - self._listed_at >= FULL_SECONDS
        if due or identity != self.identity:
            return self._list_all(identity)
        try:
            changed = self._changed()
        except RegistryError:  # a malformed entry, or the store itself: a listing tells which
            return self._list_all(identity)
        return Listing(self._read(sorted(changed | set(again))), complete=False)

    def _list_all(self, identity: str | None) -> Listing:
        seq = last_entry(self.registry.store)  # what is written from here on is seen next time
        names = self.registry.names()
        if identity != self.identity:
            self.identity = identity
            self._numbers.clear()
            self._versions.clear()
            self._events.clear()
        lost = sorted(set(self._numbers) - set(names))
        if lost and not names:
            raise RegistryError(
                "the registry has lost all of its prompts",
                where=f"{self.registry.store.url}/{PROMPTS}",
                got="no names",
                expected=", ".join(lost[:5]),
                hint="is the volume mounted completely?",
            )
        found = self._read(names)
        # Listings that fail one by one on a store that is out of reach are one failure.
        errors = [each for each in found.values() if isinstance(each, CuecardError)]
        if names and len(errors) == len(names):
            raise errors[0]
        for name in lost:
            found[name] = self._lost(name, "the name")
        self._seq, self._listed_at = seq, self._clock()
        return Listing(found, complete=True)

    def _changed(self) -> set[str]:
        """The names in the journal's new entries."""
        names, seq = set(), self._seq
        while (found := read_entry(self.registry.store, seq + 1)) is not None:
            seq += 1
            names.add(found[0].name)
        self._seq = seq
        return names

    def _read(self, names: Collection[str]) -> dict[str, Listed | CuecardError]:
        if not names:
            return {}
        with ThreadPoolExecutor(_READERS) as pool:
            return dict(zip(names, pool.map(self._read_name, names), strict=True))

    def _read_name(self, name: str) -> Listed | CuecardError:
        store = self.registry.store
        try:
            known = set(numbers(store, name))
            if lost := self._numbers.get(name, set()) - known:
                return self._lost(name, f"versions {', '.join(map(str, sorted(lost)[:5]))}")
            gone = set(numbers(store, name, "deleted"))
            aliases = {
                alias: target
                for alias in alias_names(store, name)
                if (target := self._target(name, alias)) is not None
            }
            wanted = (known - gone) | set(aliases.values())
            versions, unreadable = {}, {}
            for number in sorted(wanted):
                try:
                    versions[number] = self._version(name, number)
                except CuecardError as error:
                    unreadable[number] = error.what
        except CuecardError as error:
            return error
        self._numbers[name] = known
        return Listed(versions, aliases, unreadable)

    def _lost(self, name: str, what: str) -> RegistryError:
        return RegistryError(
            f"the registry no longer has {what}, which even a deletion leaves in place",
            where=f"{self.registry.store.url}/{PROMPTS}/{name}",
            hint="is the volume mounted completely?",
        )

    def _target(self, name: str, alias: str) -> int | None:
        store = self.registry.store
        events = numbered(store, f"{PROMPTS}/{name}/aliases/{alias}")
        if not events:
            return None
        key = event_key(name, alias, events[-1])
        if key not in self._events:
            head = read_head(store, name, alias)
            if head is None:
                return None
            # The head may have moved on since the listing; what is kept is what was read.
            key = event_key(name, alias, head.seq)
            self._events[key] = head.after
        return self._events[key]

    def _version(self, name: str, number: int) -> Version:
        key = (name, number)
        if key not in self._versions:
            self._versions[key] = read_version(self.registry.store, name, number)
        return self._versions[key]
