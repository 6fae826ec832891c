"""Descriptions for gold that has none, so that nobody learns to leave them empty."""

from __future__ import annotations

import re
from dataclasses import replace

from cuecard.graphrag.records import Entity, Extraction, Relation

# Relations that an entity is described by at most.
_MOST = 2
# Where a word begins within a name such as OtherScientificTerm or Work_For.
_PARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[\s_-]+")


def type_words(name: str) -> str:
    """A type's name in words: "other scientific term"."""
    return " ".join(_PARTS.sub(" ", name).split()).lower()


def described(extraction: Extraction) -> Extraction:
    """The same with a description wherever there is none.

    A relation is described by its type ("Ann works for Acme", with the type's own words), an entity
    by its relations, or else by its type.
    """
    relations = tuple(
        replace(each, description=each.description or _of_relation(each))
        for each in extraction.relations
    )
    entities = tuple(
        replace(each, description=each.description or _of_entity(each, relations))
        for each in extraction.entities
    )
    return Extraction(entities, relations)


def _of_relation(relation: Relation) -> str:
    words = type_words(relation.type) or "is related to"
    return f"{relation.source} {words} {relation.target}"


def _of_entity(entity: Entity, relations: tuple[Relation, ...]) -> str:
    own = [each.description for each in relations if entity.name in (each.source, each.target)]
    return "; ".join(own[:_MOST]) or type_words(entity.type)
