"""Texts with the entities and relations that people found in them, from a JSONL file.

A line is an object with `text`, `entities` and `relations`, in one of two shapes:

* ours: entities have `name` and `type`, relations `source` and `target`, which are names of
  entities, and `type`; all may have a `description`. `document` names the document that a text is a
  part of.
* of public sets (CoNLL04, SciERC): entities have `id`, `text` and `type`, relations `head` and
  `tail`, which are ids of entities, and `type`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cuecard.errors import ConfigError, DataError, FileError
from cuecard.graphrag.answers.faults import type_key
from cuecard.graphrag.records import Entity, Extraction, Relation

_EXPECTED = "an object with text, entities and relations"


@dataclass(frozen=True, slots=True)
class GoldText:
    """A text, and what is in it.

    Attributes:
        row: line of the file, from 1.
        document: what it is a part of; texts of one document are not independent.
    """

    text: str
    extraction: Extraction
    row: int
    document: str


@dataclass(frozen=True)
class TextSet:
    """Texts that are extracted from, with what is in them where people have said so.

    Attributes:
        name: of their file.
        texts: in their order.
    """

    name: str
    texts: tuple[GoldText, ...]

    @property
    def types(self) -> tuple[str, ...]:
        """Types of its entities, in their order of appearance."""
        found = (each.type for text in self.texts for each in text.extraction.entities)
        return tuple(dict.fromkeys(found))

    @property
    def labelled(self) -> bool:
        """Whether it is gold: answers can be right or wrong."""
        return bool(self.types)

    def drawn(self, count: int | None, seed: int) -> TextSet:
        """So many of the texts, in their order, by chance; all where there are no more."""
        if count is None or count >= len(self.texts):
            return self
        kept = sorted(random.Random(seed).sample(range(len(self.texts)), count))
        return TextSet(self.name, tuple(self.texts[at] for at in kept))

    def renamed(self, names: Mapping[str, str]) -> TextSet:
        """The same with other names for types of entities.

        Args:
            names: type -> its other name.
        """
        texts = (
            replace(each, extraction=with_type_names(each.extraction, names)) for each in self.texts
        )
        return TextSet(self.name, tuple(texts))

    def check_types(self, names: Collection[str], where: str) -> None:
        """Refuse types that no entity has.

        Raises:
            ConfigError: one of them.
        """
        known = {type_key(each) for each in self.types}
        for name in names:
            if type_key(name) not in known:
                raise ConfigError(
                    "no entity has this type",
                    where=where,
                    got=name,
                    expected=", ".join(self.types),
                )


def with_type_names(extraction: Extraction, names: Mapping[str, str]) -> Extraction:
    """The same with other names for types of entities.

    Args:
        names: type -> its other name.
    """
    keyed = {type_key(old): new for old, new in names.items()}
    entities = tuple(
        replace(each, type=keyed.get(type_key(each.type), each.type))
        for each in extraction.entities
    )
    return replace(extraction, entities=entities)


def read_gold(path: str | Path) -> TextSet:
    """Read a gold set.

    Raises:
        FileError: it cannot be read.
        DataError: no text in it, or a line of another shape, with its number.
    """
    place = Path(path)
    try:
        lines = place.read_text(encoding="utf-8").split("\n")  # no other line ends in JSONL
    except OSError as error:
        raise FileError.of(error, "the gold set cannot be read", path) from error
    except UnicodeDecodeError as error:
        raise DataError("the gold set is not UTF-8", where=str(path), got=error.reason) from error
    found = [_text(line, number, place) for number, line in enumerate(lines, 1) if line.strip()]
    if not any(each.extraction.entities for each in found):
        raise DataError(
            "there is no entity in the gold set",
            where=str(path),
            got=f"{len(found)} texts",
            expected=f"JSONL, each line {_EXPECTED}",
        )
    return TextSet(place.name, tuple(found))


def _text(line: str, number: int, path: Path) -> GoldText:
    where = f"{path}, line {number}"
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError("not JSON", where=where, got=str(error), expected=_EXPECTED) from error
    text = row.get("text") if isinstance(row, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise DataError("a line without a text", where=where, expected=_EXPECTED)
    entities: dict[Any, Entity] = {}
    for place, each in enumerate(_objects(row, "entities", where)):
        name = "name" if "name" in each else "text"
        called, kind = _fields(each, (name, "type"), where)
        entities[each.get("id", place)] = Entity(called, kind, str(each.get("description", "")))
    names = [each.name for each in entities.values()]
    relations = tuple(
        _relation(each, entities, names, where) for each in _objects(row, "relations", where)
    )
    document = str(row.get("document", number))
    return GoldText(text, Extraction(tuple(entities.values()), relations), number, document)


def _objects(row: Mapping[str, Any], key: str, where: str) -> Iterator[dict[str, Any]]:
    values = row.get(key, [])
    if not isinstance(values, list) or not all(isinstance(each, dict) for each in values):
        raise DataError(f"{key} is not a list of objects", where=where, expected=_EXPECTED)
    yield from values


def _fields(row: Mapping[str, Any], names: tuple[str, ...], where: str) -> list[str]:
    for name in names:
        value = row.get(name)
        if not isinstance(value, str) or not value.strip():
            raise DataError(
                f"no text in {name}", where=where, got=json.dumps(row)[:80], expected="a text"
            )
    return [row[name] for name in names]


def _relation(
    row: Mapping[str, Any], entities: Mapping[Any, Entity], names: list[str], where: str
) -> Relation:
    if "head" in row:
        ends = [entities[row[end]].name for end in ("head", "tail") if row.get(end) in entities]
    else:
        ends = [row[end] for end in ("source", "target") if row.get(end) in names]
    if len(ends) < 2:
        raise DataError(
            "a relation to an entity that is not there",
            where=where,
            got=json.dumps(row)[:80],
            expected="source and target as names, or head and tail as ids, of its entities",
        )
    (kind,) = _fields(row, ("type",), where)
    source, target = ends
    return Relation(source, target, str(row.get("description", "")), 1.0, kind)
