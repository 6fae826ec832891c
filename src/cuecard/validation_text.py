"""What pydantic finds wrong with a value, in words that do not need pydantic to be understood."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cuecard.visible import cut

if TYPE_CHECKING:
    from pydantic import ValidationError

# The type of a complaint -> what would have been accepted, from the complaint's own context.
_EXPECTED: Mapping[str, str | Callable[[Mapping[str, Any]], str]] = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a text",
    "string_too_short": lambda c: _count("at least", c["min_length"], "character"),
    "string_too_long": lambda c: _count("at most", c["max_length"], "character"),
    "string_pattern_mismatch": lambda c: f"a text of the form {c['pattern']}",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "too_short": lambda c: _count("at least", c["min_length"], "item"),
    "too_long": lambda c: _count("at most", c["max_length"], "item"),
    "dict_type": "a mapping (key: value)",
    "mapping_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (key: value)",
    "none_required": "nothing (null)",
    "literal_error": lambda c: _one_of(c["expected"]),
    "enum": lambda c: _one_of(c["expected"]),
    "greater_than": lambda c: f"more than {c['gt']:g}",
    "greater_than_equal": lambda c: f"{c['ge']:g} or more",
    "less_than": lambda c: f"less than {c['lt']:g}",
    "less_than_equal": lambda c: f"{c['le']:g} or less",
    "multiple_of": lambda c: f"a multiple of {c['multiple_of']:g}",
    "missing": "a value",
    "extra_forbidden": "no such key",
    "frozen_field": "no change",
}


def expected(error: Mapping[str, Any]) -> str:
    """What one of pydantic's complaints would have accepted."""
    words = _EXPECTED.get(error["type"])
    if words is None:
        return str(error["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    return words if isinstance(words, str) else words(error.get("ctx", {}))


def first_problem(error: ValidationError) -> str:
    """The first complaint in one line: the field, what was found, what would have been accepted."""
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    front = f"{place}: " if place else ""
    if first["type"] == "missing":
        return f"{front}it is missing"
    if first["type"] == "extra_forbidden":
        return f"{front}there is no such field"
    return f"{front}{shown(first['input'])} instead of {expected(first)}"


def shown(value: Any) -> str:
    """A value as a user wrote it in JSON or YAML, cut to a line."""
    named = {True: "true", False: "false", None: "nothing (null)"}
    if isinstance(value, tuple):  # a list, as it is written there
        value = list(value)
    text = named[value] if value is None or isinstance(value, bool) else repr(value)
    return cut(text, 100)


def counted(number: int, noun: str) -> str:
    """A number with its noun, in the plural but for 1."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def first_of(names: Sequence[str], most: int) -> str:
    """So many names of a list, which goes on with dots where there are more."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _one_of(choices: str) -> str:
    return f"one of {choices}" if " or " in choices or ", " in choices else choices


def _count(most: str, number: int, what: str) -> str:
    return f"{most} {counted(number, what)}"
