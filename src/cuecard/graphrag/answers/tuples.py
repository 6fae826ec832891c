"""Answers in GraphRAG's own form.

    ("entity"<|>NAME<|>TYPE<|>DESCRIPTION)##("relationship"<|>A<|>B<|>DESCRIPTION<|>WEIGHT)<|COMPLETE|>

Source: `GraphExtractor._process_result` of GraphRAG 3.1. What it drops is dropped here, what it
keeps is kept, in the case that it was written in (GraphRAG puts names and types in capitals). Two
things differ: an entity without a name is dropped, and the marker at the end is taken off the last
record first, whose weight GraphRAG loses to it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection

from cuecard.graphrag.answers.faults import AnswerFault, ReadAnswer, compared, line_of, weight_of
from cuecard.graphrag.records import Entity, Extraction, Relation

FIELD, RECORD, COMPLETE = "<|>", "##", "<|COMPLETE|>"
"""Delimiters of GraphRAG 3.x, which are fixed."""

_ENTITY, _RELATION = '"entity"', '"relationship"'
_FIELDS = {_ENTITY: 4, _RELATION: 5}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def read_tuples(text: str, types: Collection[str] = ()) -> ReadAnswer:
    """Read GraphRAG's own form.

    Args:
        types: that entities may have; empty for any.
    """
    whole, marker, after = text.partition(COMPLETE)
    faults = [] if marker else [AnswerFault("no completion marker")]
    if after.strip():
        faults.append(AnswerFault("text after the completion marker", 0, line_of(after)))
    found: list[Entity | Relation] = []
    places: list[int] = []
    parts = [part.strip() for part in whole.split(RECORD)]
    for number, part in enumerate((part for part in parts if part), 1):
        taken, wrong = _record(part)
        faults += [AnswerFault(what, number, line_of(part)) for what in wrong]
        if taken is not None:
            found.append(taken)
            places.append(number)
    return compared(found, places, faults, types)


def _record(text: str) -> tuple[Entity | Relation | None, list[str]]:
    """What a record says, if it says something, and what is wrong with it."""
    fields = re.sub(r"^\(|\)$", "", text).split(FIELD)
    kind = fields[0]
    if kind not in _FIELDS:
        return None, ["neither an entity nor a relationship"]
    wrong = []
    if not (text.startswith("(") and text.endswith(")")):
        wrong.append("not in parentheses")
    if len(fields) < _FIELDS[kind]:
        return None, [*wrong, "too few fields"]
    if len(fields) > _FIELDS[kind]:
        wrong.append("too many fields")
    first, second, third = (_clean(field) for field in fields[1:4])
    if kind == _ENTITY:
        entity = Entity(first, second, third)
        return (entity, wrong) if first else (None, [*wrong, "no name"])
    weight, bad = weight_of(fields[-1])
    relation = Relation(first, second, third, weight)
    return relation, [*wrong, *bad]


def _clean(text: str) -> str:
    """`clean_str` of GraphRAG: HTML's escapes are read, control characters dropped."""
    return _CONTROL.sub("", html.unescape(text.strip()))


def tuples_of(extraction: Extraction) -> str:
    """An extraction in GraphRAG's own form.

    What would be taken for a delimiter is written as HTML, which GraphRAG reads. A relation's type
    has no place in it. The marker is parted from the last record, so that its weight is kept.
    """
    records = [
        *(_tuple(_ENTITY, each.name, each.type, each.description) for each in extraction.entities),
        *(
            _tuple(_RELATION, each.source, each.target, each.description, f"{each.weight:g}")
            for each in extraction.relations
        ),
    ]
    return "".join(f"{record}\n{RECORD}\n" for record in records) + COMPLETE


def _tuple(kind: str, *fields: str) -> str:
    return f"({FIELD.join([kind, *map(_escaped, fields)])})"


def _escaped(text: str) -> str:
    """A field's text in one line, as `_clean` turns it back."""
    text = " ".join(text.split())
    signs = "".join(("<>" if "|" in text else "", "#" if RECORD in text else ""))
    if signs or html.unescape(text) != text:
        text = text.translate({ord(sign): f"&#{ord(sign)};" for sign in f"&{signs}"})
    return text
