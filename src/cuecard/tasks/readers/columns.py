"""Cells that hold more than a text: lists of labels, numbers, words with tags, answers, options.

Each kind of task reads its own into a record's values.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from cuecard.errors import DataError
from cuecard.types import Answer, Record, Value

NamesOf = Mapping[str, Sequence[str]]
OPTIONS = "options"
"""The field of a record's options."""

T_co = TypeVar("T_co", bound=Value, covariant=True)


@dataclass(frozen=True, slots=True)
class ColumnReader(Generic[T_co]):
    """How a field or a target is made of a row.

    Attributes:
        columns: the columns it is read from.
        read: the columns' values by name, the names of class numbers by column, and where the row
            stands -> the value.
        files: whether texts in the columns name files beside the data.
    """

    columns: tuple[str, ...]
    read: Callable[[Mapping[str, Any], NamesOf, str], T_co]
    files: bool = False


def columns_of(text: str) -> tuple[str, ...]:
    """The columns of a comma-separated list of them."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def labels_column(column: str, separator: str) -> ColumnReader[tuple[str, ...]]:
    """Labels as a list, also in JSON, a text with separators, or a column of 0 and 1 per label."""
    columns = columns_of(column)

    def flags(values: Mapping[str, Any], names: NamesOf, where: str) -> tuple[str, ...]:
        found = [name for name in columns if _flag(values[name], f"{where}, column {name!r}")]
        return tuple(sorted(found))

    def listed(values: Mapping[str, Any], names: NamesOf, where: str) -> tuple[str, ...]:
        place = f"{where}, column {column!r}"
        value = values[column]
        if isinstance(value, str) or value is None:
            told = _json_list(value or "")
            parts = (value or "").split(separator) if told is None else told
            value = [part for part in parts if str(part).strip()]
        texts = [text.strip() for text in _texts(value, names.get(column), place)]
        if "" in texts:
            raise _wrong("a label is empty", place, value, "labels with text")
        return tuple(sorted(set(parts_of(texts, separator, place))))

    return ColumnReader(columns, flags) if len(columns) > 1 else ColumnReader((column,), listed)


def number_column(column: str) -> ColumnReader[str]:
    """A finite number."""

    def read(values: Mapping[str, Any], names: NamesOf, where: str) -> str:
        place = f"{where}, column {column!r}"
        value = values[column]
        try:
            number = math.nan if isinstance(value, bool) else float(str(value).strip())
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise _wrong("the target is not a number", place, value, "a finite number such as 3.5")
        return repr(number)

    return ColumnReader((column,), read)


def words_column(column: str) -> ColumnReader[str]:
    """A list of words, or a text with a space between any two."""

    def read(values: Mapping[str, Any], names: NamesOf, where: str) -> str:
        place = f"{where}, column {column!r}"
        return " ".join(_words(values[column], None, place, "a word"))

    return ColumnReader((column,), read)


def tags_column(column: str) -> ColumnReader[tuple[str, ...]]:
    """A tag per word: a list of texts or class numbers, or a text with spaces between."""

    def read(values: Mapping[str, Any], names: NamesOf, where: str) -> tuple[str, ...]:
        place = f"{where}, column {column!r}"
        return tuple(_words(values[column], names.get(column), place, "a tag"))

    return ColumnReader((column,), read)


def answers_column(column: str, context: str) -> ColumnReader[tuple[Answer, ...]]:
    """Answers found in a context: {"text": [...], "answer_start": [...]}, texts, or one."""

    def read(values: Mapping[str, Any], names: NamesOf, where: str) -> tuple[Answer, ...]:
        place = f"{where}, column {column!r}"
        text = values[context]
        pairs = _pairs(values[column], place)
        found = tuple(_placed(str(text), answer, start, place) for answer, start in pairs)
        if not found:
            raise _wrong("the question has no answer", place, "no answer", "one or more")
        return found

    return ColumnReader((column, context), read)


def options_column(column: str) -> ColumnReader[tuple[str, ...]]:
    """Options as a list, also in JSON, or one column per option, of which some may be empty."""
    columns = columns_of(column)

    def read(values: Mapping[str, Any], names: NamesOf, where: str) -> tuple[str, ...]:
        place = f"{where}, column {column!r}"
        value = values[column] if len(columns) == 1 else _filled(values, columns)
        options = tuple(text.strip() for text in parts_of(value, place=place))
        if len(options) < 2 or "" in options or len(set(options)) < len(options):
            got = ", ".join(map(repr, options)) or "none"
            raise _wrong(
                "the options are too few, empty or repeated", place, got, "two or more that differ"
            )
        return options

    return ColumnReader(columns, read)


def choice_column(column: str, options: ColumnReader[tuple[str, ...]]) -> ColumnReader[str]:
    """The right option: its text, its column's name, or its number counted from 0."""

    def read(values: Mapping[str, Any], names: NamesOf, where: str) -> str:
        place = f"{where}, column {column!r}"
        given = options.read(values, names, where)
        value = values[column]
        text = "" if value is None else str(value).strip()
        if text in given:
            return text
        if text in options.columns and len(options.columns) > 1 and values[text] is not None:
            return str(values[text]).strip()
        if text.isdecimal() and int(text) < len(given):
            return given[int(text)]
        expected = f"one of {', '.join(map(repr, given))}, or 0 to {len(given) - 1}"
        raise _wrong("the answer is not one of the options", place, value, expected)

    return ColumnReader((column, *options.columns), read)


def options_of(record: Record) -> tuple[str, ...]:
    """A record's options."""
    return parts_of(record.fields[OPTIONS])


def parts_of(value: Any, separator: str | None = None, place: str | None = None) -> tuple[str, ...]:
    """A list's texts, also of a list as `value_text` tells it.

    Raises:
        DataError: no list, or a text of it that the separator would divide.
    """
    if separator is not None and isinstance(value, str):
        return tuple(value.split(separator))
    parts = _texts(_loaded(value, place), None, place)
    for part in parts:
        if separator is not None and separator in part:
            raise _wrong("a part contains the separator", place, part, f"no {separator!r} in it")
    return tuple(parts)


def answers_of(value: Value) -> tuple[Answer, ...]:
    """Answers, also as `value_text` tells them; one without a place starts at -1.

    Raises:
        DataError: no answers.
    """
    pairs = _pairs(_loaded(value, None), None)
    return tuple(Answer(text, -1 if start is None else start) for text, start in pairs)


def _loaded(value: Any, place: str | None) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise _wrong("the value is not a list", place, value, "a list, or its JSON") from error


def _json_list(text: str) -> list[Any] | None:
    """A text that is a list in JSON; None for another."""
    if not text.lstrip().startswith("["):
        return None
    try:
        return list(json.loads(text))
    except ValueError:
        return None


def _pairs(value: Any, place: str | None) -> list[tuple[str, int | None]]:
    if isinstance(value, str):
        return [(value, None)]
    if isinstance(value, Answer):
        return [(value.text, value.start)]
    if isinstance(value, Mapping):
        texts, starts = value.get("text"), value.get("answer_start")
        if isinstance(texts, str):
            texts, starts = [texts], None if starts is None else [starts]
        if not isinstance(texts, list) or (starts is not None and len(starts) != len(texts)):
            raise _wrong("the answers cannot be read", place, value, '{"text": [...]}')
        return list(zip(texts, starts or [None] * len(texts), strict=True))
    if isinstance(value, list | tuple):
        return [pair for item in value for pair in _pairs(item, place)]
    raise _wrong("the answers cannot be read", place, value, "a text, or a list of texts")


def _placed(context: str, answer: Any, start: Any, place: str) -> Answer:
    """An answer at its place."""
    if not isinstance(answer, str) or not answer.strip():
        raise _wrong("the answer is empty", place, answer, "some text of the context")
    if start is None:
        start = context.find(answer)
    if type(start) is not int or start < 0 or context[start : start + len(answer)] != answer:
        got = answer if type(start) is not int or start < 0 else f"{answer!r} at {start}"
        raise _wrong("the answer is not in its context", place, got, "a part of the context")
    return Answer(answer, start)


def _filled(values: Mapping[str, Any], columns: Sequence[str]) -> list[Any]:
    return [values[c] for c in columns if values[c] is not None and str(values[c]).strip()]


def _flag(value: Any, place: str) -> bool:
    text = str(value).strip().lower()
    if text in ("1", "1.0", "true"):
        return True
    if text in ("0", "0.0", "false", "", "none"):
        return False
    raise _wrong("a label's column holds neither 0 nor 1", place, value, "0 or 1")


def _words(value: Any, names: Sequence[str] | None, place: str, what: str) -> list[str]:
    words = value.split() if isinstance(value, str) else _texts(value, names, place)
    for word in words:
        if len(word.split()) != 1 or word != word.strip():
            raise _wrong(f"{what} is empty or has a space", place, repr(word), what)
    if not words:
        raise _wrong("the sentence is empty", place, "nothing", "one or more words")
    return words


def _texts(value: Any, names: Sequence[str] | None, place: str | None) -> list[str]:
    """A list's items as texts; class numbers by their names."""
    if not isinstance(value, list | tuple):
        raise _wrong("the value is not a list", place, value, "a list of texts")
    found = []
    for item in value:
        if names is not None and type(item) is int and 0 <= item < len(names):
            item = names[item]
        if isinstance(item, bool) or not isinstance(item, str | int | float):
            raise _wrong("the list has an item that is not text", place, item, "texts")
        found.append(str(item))
    return found


def _wrong(what: str, place: str | None, got: Any, expected: str) -> DataError:
    return DataError(what, where=place, got=str(got)[:80], expected=expected)
