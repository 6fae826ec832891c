"""What a registry holds, read again and again at little cost.

Versions and an alias's moves never change once they are written, so only what is new is read; the
rest of a look is listings.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from cuecard.errors import CuecardError
from cuecard.registry import Registry, Version
from cuecard.registry.aliases import alias_names, event_key, read_head
from cuecard.registry.versions import PROMPTS, numbered, numbers, read_version

_READERS = 8


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


class RegistryReader:
    """Looks into a registry, and remembers what cannot change."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._versions: dict[tuple[str, int], Version] = {}
        self._moves: dict[str, int | None] = {}

    def look(self) -> dict[str, Listed | CuecardError]:
        """Every name with what it has, or why that cannot be told.

        Raises:
            RegistryError: the registry cannot be read.
        """
        names = self.registry.names()
        with ThreadPoolExecutor(_READERS) as pool:
            found = dict(zip(names, pool.map(self._look_at, names), strict=True))
        # Listings that fail one by one on a store that is out of reach are one failure.
        errors = [each for each in found.values() if isinstance(each, CuecardError)]
        if names and len(errors) == len(names):
            raise errors[0]
        return found

    def _look_at(self, name: str) -> Listed | CuecardError:
        store = self.registry.store
        try:
            known = set(numbers(store, name))
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
        return Listed(versions, aliases, unreadable)

    def _target(self, name: str, alias: str) -> int | None:
        store = self.registry.store
        moves = numbered(store, f"{PROMPTS}/{name}/aliases/{alias}")
        if not moves:
            return None
        key = event_key(name, alias, moves[-1])
        if key not in self._moves:
            head = read_head(store, name, alias)
            if head is None:
                return None
            # The head may have moved on since the listing; what is kept is what was read.
            key = event_key(name, alias, head.seq)
            self._moves[key] = head.after
        return self._moves[key]

    def _version(self, name: str, number: int) -> Version:
        key = (name, number)
        if key not in self._versions:
            self._versions[key] = read_version(self.registry.store, name, number)
        return self._versions[key]
