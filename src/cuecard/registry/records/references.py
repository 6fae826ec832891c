"""Names of prompts, and references to versions: `reviews@3`, `reviews@production`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cuecard.errors import RegistryError

NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
LATEST = "latest"
_NAME = re.compile(NAME)
_NUMBER = re.compile(r"^[0-9]{1,8}$")


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference to a version of a prompt.

    Attributes:
        name: the prompt's.
        target: a number, an alias, or "latest": the highest number that is not deleted.
    """

    name: str
    target: int | str

    def __str__(self) -> str:
        return f"{self.name}@{self.target}"


def is_name(name: str) -> bool:
    """Whether this is a valid prompt name."""
    return _NAME.fullmatch(name) is not None


def is_alias(name: str) -> bool:
    """Whether this is a valid alias: a name, but neither a number nor "latest"."""
    return is_name(name) and not name.isdigit() and name != LATEST


def check_name(name: str, what: str = "prompt") -> str:
    """The name, if it is valid.

    Raises:
        RegistryError: it is not.
    """
    if not is_name(name):
        raise RegistryError(
            f"not a valid {what} name" if what != "alias" else "not a valid alias",
            where=what,
            got=repr(name),
            expected="1 to 64 of a-z, 0-9, '.', '_' and '-', starting with a letter or digit",
        )
    return name


def check_alias(alias: str) -> str:
    """The alias, if it is valid: a name, but neither a number nor "latest".

    Raises:
        RegistryError: it is not.
    """
    check_name(alias, "alias")
    if not is_alias(alias):
        raise RegistryError(
            "an alias must not look like a version",
            where="alias",
            got=alias,
            expected="a name such as production",
        )
    return alias


def parse_reference(text: str) -> Reference:
    """Parse NAME@NUMBER, NAME@ALIAS or NAME@latest.

    Raises:
        RegistryError: anything else.
    """
    name, at, target = text.partition("@")
    if not (at and target):
        raise RegistryError(
            "not a reference to a version",
            where="reference",
            got=text,
            expected="NAME@NUMBER, NAME@ALIAS or NAME@latest",
            hint=f"did you mean {name}@latest?" if _NAME.fullmatch(name) else None,
        )
    check_name(name)
    if target == LATEST:
        return Reference(name, target)
    if _NUMBER.fullmatch(target):
        return Reference(name, int(target))
    return Reference(name, check_alias(target))


def is_reference(text: str) -> bool:
    """Whether a text looks like a reference."""
    name, at, target = text.partition("@")
    return bool(at and _NAME.fullmatch(name) and _NAME.fullmatch(target))
