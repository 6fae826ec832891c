"""Answers in JSON, for models that do not keep to tuples: they are converted.

An object with the lists `entities` and `relationships`, or one list of both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from cuecard.graphrag.answers.faults import AnswerFault, ReadAnswer, compared, line_of, weight_of
from cuecard.graphrag.records import Entity, Extraction, Relation

_ENTITIES, _RELATIONSHIPS = "entities", "relationships"
# As the JSON prompt of GraphRAG's own prompt-tune names them.
_ALIASES = {"description": "relationship", "weight": "relationship_strength"}
_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)\n?```", re.DOTALL | re.IGNORECASE)


def read_json(text: str, types: Collection[str] = ()) -> ReadAnswer:
    """Read the form in JSON, also within a code fence.

    Of an answer with words around it, or that stops in the middle, all whole records are taken.

    Args:
        types: that entities may have; empty for any.
    """
    body = unfenced(text)
    try:
        rows, faults = _listed(json.loads(body))
    except (ValueError, RecursionError):
        rows, faults = list(_objects(body)), [AnswerFault("not JSON", 0, line_of(text))]
    found: list[Entity | Relation] = []
    places: list[int] = []
    for number, row in enumerate(rows, 1):
        taken, wrong = _json_record(row)
        faults += [AnswerFault(what, number, line_of(json.dumps(row))) for what in wrong]
        if taken is not None:
            found.append(taken)
            places.append(number)
    return compared(found, places, faults, types)


def unfenced(text: str) -> str:
    """What is within a code fence that is all of a text; else the text as it is."""
    fence = _FENCE.fullmatch(text.strip())
    return fence[1] if fence else text


def _listed(value: Any) -> tuple[list[Any], list[AnswerFault]]:
    """The records of an answer, those of entities first, and what is wrong around them."""
    if isinstance(value, list):
        return value, []
    if not isinstance(value, dict):
        return [], [AnswerFault("neither an object nor a list", 0, line_of(json.dumps(value)))]
    rows, faults = [], []
    for name in (_ENTITIES, _RELATIONSHIPS):
        part = value.get(name)
        if isinstance(part, list):
            rows += part
        else:
            faults.append(AnswerFault(f"no list of {name}"))
    return rows, faults


def _objects(text: str) -> Iterator[Any]:
    """Records in a text that is not JSON: the objects that are whole and hold no lists."""
    decoder, place = json.JSONDecoder(), text.find("{")
    while place >= 0:
        after = place + 1
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            value = None  # a brace of prose, or an object that is cut off: look behind it
        if value is not None and not any(isinstance(each, list) for each in value.values()):
            yield value
            after = end
        place = text.find("{", after)


def _json_record(row: Any) -> tuple[Entity | Relation | None, list[str]]:
    """What a record says, if it says something, and what is wrong with it."""
    values = row if isinstance(row, dict) else {}
    if "source" in values:
        values = {**{name: values.get(other) for name, other in _ALIASES.items()}, **values}
        (source, target, text), wrong = _texts(values, ("source", "target", "description"))
        weight, bad = weight_of(values["weight"])
        relation = Relation(source, target, text, weight, _texts(values, ("type",))[0][0])
        return (relation if source and target else None), [*wrong, *bad]
    if "name" in values:
        (name, kind, text), wrong = _texts(values, ("name", "type", "description"))
        return (Entity(name, kind, text) if name else None), wrong
    return None, ["neither an entity nor a relationship"]


def _texts(values: Mapping[str, Any], names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Fields as texts in a line, "" where they are none, and what is wrong with them."""
    found = [" ".join(x.split()) if isinstance(x := values.get(n), str) else "" for n in names]
    needed = [name for name in names if name != "description" or name not in values]
    return found, [
        f"no {n}" for n, text in zip(names, found, strict=True) if n in needed and not text
    ]


def json_of(extraction: Extraction) -> str:
    """An extraction in JSON, in one line; a relation's type is in it where it has one."""
    entities = [
        {"name": each.name, "type": each.type, "description": each.description}
        for each in extraction.entities
    ]
    relationships = [
        {
            "source": each.source,
            "target": each.target,
            **({"type": each.type} if each.type else {}),
            "description": each.description,
            "weight": each.weight,
        }
        for each in extraction.relations
    ]
    return json.dumps({_ENTITIES: entities, _RELATIONSHIPS: relationships}, ensure_ascii=False)
