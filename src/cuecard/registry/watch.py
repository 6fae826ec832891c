"""Watch a registry by polling: one full listing, then only the names the journal mentions.

Versions and alias events are immutable and a deletion keeps the record, so nothing ever disappears
from a registry. If something has, a volume is not fully mounted or damaged, and the name is treated
as unreadable.
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

_THREADS = 8
FULL_SECONDS = 60.0
"""Interval of full listings. They find writes that are not in the journal: those of a writer killed
in between, and those of older versions of cuecard."""


@dataclass(frozen=True, slots=True)
class NameListing:
    """One name in a registry.

    Attributes:
        versions: by number: those not deleted, and those an alias points at.
        aliases: alias -> number.
        unreadable: number -> why its record cannot be read.
        unaliased: numbers left out, since no alias points at them.
    """

    versions: Mapping[int, Version]
    aliases: Mapping[str, int]
    unreadable: Mapping[int, str] = field(default_factory=dict)
    unaliased: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Listing:
    """The result of a poll.

    Attributes:
        names: name -> its versions and aliases, or why they cannot be read.
        complete: whether these are all names, or only those that may have changed.
    """

    names: Mapping[str, NameListing | CuecardError]
    complete: bool


class RegistryWatch:
    """Polls a registry and caches what is immutable.

    Args:
        registry: the registry to poll.
        clock: monotonic seconds.
        aliased_only: read the records of those versions alone that an alias points at.
    """

    def __init__(
        self,
        registry: Registry,
        clock: Callable[[], float] = time.monotonic,
        *,
        aliased_only: bool = False,
    ) -> None:
        self.registry = registry
        self._aliased_only = aliased_only
        self.identity: str | None = None
        self._clock = clock
        self._versions: dict[tuple[str, int], Version] = {}
        self._events: dict[str, int | None] = {}
        self._numbers: dict[str, set[int]] = {}
        self._seq = 0
        self._listed_at: float | None = None

    def remember(self, identity: str | None, names: Collection[str]) -> None:
        """Set the names that an earlier process found, so that lost ones are noticed."""
        self.identity = identity
        self._numbers = {name: set() for name in names}

    def invalidate(self) -> None:
        """List everything at the next poll: the last result was not applied."""
        self._listed_at = None

    def poll(self, again: Collection[str] = ()) -> Listing:
        """What may have changed since the last poll; everything at first and once a minute.

        Without changes this costs two reads, however many prompts there are.

        Args:
            again: names to read even if they have not changed.

        Raises:
            RegistryError: the registry cannot be read, or has lost its prompts.
        """
        identity = self.registry.identity()
        due = self._listed_at is None or self._clock() - self._listed_at >= FULL_SECONDS
        if due or identity != self.identity:
            return self._list_all(identity)
        try:
            changed = self._changed()
        except RegistryError:  # a malformed entry, or the store itself: a full listing shows which
            return self._list_all(identity)
        return Listing(self._read(sorted(changed | set(again))), complete=False)

    def _list_all(self, identity: str | None) -> Listing:
        seq = last_entry(self.registry.store)  # what is written after this is found next time
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
        # If every listing failed, the store is unreachable: that is one failure.
        errors = [each for each in found.values() if isinstance(each, CuecardError)]
        if names and len(errors) == len(names):
            raise errors[0]
        for name in lost:
            found[name] = self._lost(name, "the name")
        self._seq, self._listed_at = seq, self._clock()
        return Listing(found, complete=True)

    def _changed(self) -> set[str]:
        """The names in new journal entries."""
        names, seq = set(), self._seq
        while (found := read_entry(self.registry.store, seq + 1)) is not None:
            seq += 1
            names.add(found[0].name)
        self._seq = seq
        return names

    def _read(self, names: Collection[str]) -> dict[str, NameListing | CuecardError]:
        if not names:
            return {}
        with ThreadPoolExecutor(_THREADS) as pool:
            return dict(zip(names, pool.map(self._read_name, names), strict=True))

    def _read_name(self, name: str) -> NameListing | CuecardError:
        store = self.registry.store
        try:
            known = set(numbers(store, name))
            if lost := self._numbers.get(name, set()) - known:
                return self._lost(name, f"versions {', '.join(map(str, sorted(lost)[:5]))}")
            deleted = set(numbers(store, name, "deleted"))
            aliases = {
                alias: target
                for alias in alias_names(store, name)
                if (target := self._target(name, alias)) is not None
            }
            targets = set(aliases.values())
            wanted = targets if self._aliased_only else (known - deleted) | targets
            versions, unreadable = {}, {}
            for number in sorted(wanted):
                try:
                    versions[number] = self._version(name, number)
                except CuecardError as error:
                    unreadable[number] = error.what
        except CuecardError as error:
            return error
        self._numbers[name] = known
        return NameListing(versions, aliases, unreadable, frozenset(known - deleted - wanted))

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
            # The head may have moved since the listing; cache what was read.
            key = event_key(name, alias, head.seq)
            self._events[key] = head.after
        return self._events[key]

    def _version(self, name: str, number: int) -> Version:
        key = (name, number)
        if key not in self._versions:
            self._versions[key] = read_version(self.registry.store, name, number)
        return self._versions[key]
