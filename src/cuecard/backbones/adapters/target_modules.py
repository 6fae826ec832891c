"""Resolve an adapter's target modules as PEFT does.

PEFT takes a list of names or suffixes, one regular expression, or "all-linear", and leaves
modules out by layer number or by name (`peft/tuners/tuners_utils.py`, check_target_module_exists).
The patterns come from somebody else's file: they run on a module's name alone, with a time limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import regex

from cuecard.errors import AdapterError

ALL_LINEAR = "all-linear"
_MAX_PATTERN = 2000
_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Targets:
    """An adapter's choice of modules.

    Attributes:
        where: the file it stands in, for messages.
        modules: names or suffixes, a regular expression, or "all-linear".
        exclude: names or suffixes, or a regular expression, of modules to leave out.
        layers: numbers of the layers to adapt; empty for all.
        layers_pattern: what the list of layers may be called; empty for anything.
    """

    where: str
    modules: str | tuple[str, ...]
    exclude: str | tuple[str, ...] = ()
    layers: tuple[int, ...] = ()
    layers_pattern: tuple[str, ...] = ()

    def match(self, name: str) -> bool:
        """Whether a module of this name is meant, if it is one that can be adapted.

        Raises:
            AdapterError: a pattern that is none, or that takes too long.
        """
        if self.exclude and self._among(self.exclude, name):
            return False
        if self.modules == ALL_LINEAR:
            return True
        if not self._among(self.modules, name):
            return False
        return isinstance(self.modules, str) or not self.layers or self._in_layers(name)

    def _among(self, wanted: str | tuple[str, ...], name: str) -> bool:
        if isinstance(wanted, str):
            return matches(wanted, name, self.where, whole=True) is not None
        return any(name == one or name.endswith(f".{one}") for one in wanted)

    def _in_layers(self, name: str) -> bool:
        starts = [rf"(?:^|.*?\.){pattern}" for pattern in self.layers_pattern]
        for start in starts or [r".*?\.[^.]*"]:
            found = matches(rf"{start}\.(?P<number>\d+)\.", name, self.where)
            if found is not None:
                return int(found["number"]) in self.layers
        return False


def pattern_value(patterns: Mapping[str, Any], name: str, where: str) -> Any:
    """The value of the first pattern that a module's name ends with; None without one.

    Raises:
        AdapterError: a pattern that is none, or that takes too long.
    """
    for key, value in patterns.items():
        if matches(rf"(.*\.)?({key})$", name, where) is not None:
            return value
    return None


def matches(pattern: str, name: str, where: str, whole: bool = False) -> Any:
    """`re.match`, or `re.fullmatch`, with a time limit.

    Raises:
        AdapterError: no regular expression, too long, or it takes too long.
    """
    try:
        if len(pattern) > _MAX_PATTERN:
            raise regex.error(f"{len(pattern)} characters")
        match = regex.fullmatch if whole else regex.match
        return match(pattern, name, timeout=_SECONDS)
    except (regex.error, TimeoutError, RecursionError) as error:
        slow = isinstance(error, TimeoutError)
        raise AdapterError(
            "a pattern for modules that cannot be used",
            where=where,
            got=f"{pattern[:80]!r}: {'it takes too long' if slow else error}",
            expected="a module's name, its last part, or a short regular expression",
        ) from error
