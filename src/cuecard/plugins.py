"""What installed packages offer beside what is built in, by entry points.

A package names its objects in its own metadata, one group for each axis: `cuecard.methods`,
`cuecard.kinds` and `cuecard.searchers`. Names are known without importing it; its module is
imported when one of them is asked for. What cannot be loaded, or has a name that is taken, is told
with the package's name, and the rest works on.
"""

from __future__ import annotations

import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, TypeVar

from cuecard.errors import ConfigError, CuecardWarning

V = TypeVar("V")


class PluginMapping(Mapping[str, V]):
    """Name -> object: what is built in, was added, and what installed packages offer.

    Iterating gives every name and imports nothing. `items` and `values` import all that is offered,
    and leave out, with a warning, what cannot be loaded.

    Args:
        group: of the entry points.
        what: what one of them is called in an error.
        built_in: what is there without any package.
        read: makes the value of what a package offers under a name. It may raise anything.
    """

    def __init__(
        self,
        group: str,
        what: str,
        built_in: Mapping[str, V],
        read: Callable[[str, Any], V],
    ) -> None:
        self._group, self._what, self._read = group, what, read
        self._known = dict(built_in)
        self._taken = frozenset(built_in)
        self._told: set[str] = set()

    def __getitem__(self, name: str) -> V:
        """
        Raises:
            ConfigError: a package offers it, and it cannot be loaded.
            KeyError: nobody offers it.
        """
        if name not in self._known:
            self._known[name] = self._load(self._offers()[name])
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        yield from list(self._known)
        yield from (name for name in self._offers() if name not in self._known)

    def __len__(self) -> int:
        return len({*self._known, *self._offers()})

    def __contains__(self, name: object) -> bool:
        return name in self._known or name in self._offers()

    def items(self) -> ItemsView[str, V]:
        """Every name with its object, without those that cannot be loaded."""
        return self._loaded().items()

    def values(self) -> ValuesView[V]:
        """Every object that can be loaded."""
        return self._loaded().values()

    def add(self, name: str, value: V) -> None:
        """Add an object; the same one again changes nothing.

        Raises:
            ConfigError: there is another one of that name.
        """
        if self._known.setdefault(name, value) is not value:
            raise ConfigError(
                f"another {self._what} has that name",
                where=self._group.rpartition(".")[2].removesuffix("s"),
                got=name,
                expected="a new name",
            )

    def _loaded(self) -> dict[str, V]:
        found = dict(self._known)
        for name in self:
            if name not in found:
                try:
                    found[name] = self[name]
                except ConfigError as error:
                    self._tell(name, f"left out: {error.where}: {error.got}")
        return found

    def _tell(self, name: str, text: str) -> None:
        if name not in self._told:
            self._told.add(name)
            warnings.warn(CuecardWarning(text), stacklevel=4)

    def _offers(self) -> Mapping[str, EntryPoint]:
        return _offers(self._group, self._what, self._taken, tuple(sys.path))

    def _load(self, entry: EntryPoint) -> V:
        try:
            return self._read(entry.name, entry.load())
        except Exception as error:
            raise ConfigError(
                f"a {self._what} of an installed package cannot be loaded",
                where=f"{_package(entry)}: {entry.name} = {entry.value}",
                got=f"{type(error).__name__}: {error}",
                hint=f"install another version of {_package(entry)}, or remove it",
            ) from error


@cache
def _offers(
    group: str, what: str, taken: frozenset[str], path: tuple[str, ...]
) -> Mapping[str, EntryPoint]:
    """Name -> entry point, without names that are taken or offered twice, which is told once.

    Args:
        path: `sys.path`, in which packages are looked for.
    """
    found: dict[str, list[EntryPoint]] = defaultdict(list)
    for entry in entry_points(group=group):
        found[entry.name].append(entry)
    for name, entries in [*found.items()]:
        packages = ", ".join(sorted(map(_package, entries)))
        if name in taken:
            why = "cuecard has one of that name"
        elif len(entries) > 1:
            why = "only one package may offer it"
        else:
            continue
        del found[name]
        warnings.warn(
            CuecardWarning(f"left out: the {what} {name!r} of {packages}: {why}"), stacklevel=4
        )
    return MappingProxyType({name: entry for name, (entry,) in found.items()})


def _package(entry: EntryPoint) -> str:
    """The name and version of the package that offers it."""
    return "a package" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
