"""What GraphRAG finds in a piece of text: entities, and relations between them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entity:
    """A thing that a text is about."""

    name: str
    type: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation between two entities.

    Attributes:
        source, target: names of entities.
        weight: how strong it is; GraphRAG's prompts ask for 1 to 10.
        type: "" where it has none, as in GraphRAG's own format.
    """

    source: str
    target: str
    description: str = ""
    weight: float = 1.0
    type: str = ""


@dataclass(frozen=True, slots=True)
class Extraction:
    """All that was found in a piece of text."""

    entities: tuple[Entity, ...] = ()
    relations: tuple[Relation, ...] = ()
