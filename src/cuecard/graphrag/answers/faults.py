"""What is wrong with an answer to an extraction prompt."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from cuecard.graphrag.records import Entity, Extraction, Relation

_SHOWN = 80


@dataclass(frozen=True, slots=True)
class AnswerFault:
    """Something that is wrong with an answer.

    Attributes:
        what: is wrong, in words that do not differ from answer to answer.
        record: number of the record from 1; 0 for the answer as a whole.
        text: where, cut to a line.
    """

    what: str
    record: int = 0
    text: str = ""

    def __str__(self) -> str:
        place = f"record {self.record}: " if self.record else ""
        return f"{place}{self.what}" + (f": {self.text!r}" if self.text else "")


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """What GraphRAG takes from an answer, and what is wrong with it.

    Attributes:
        faults: in their order; none in an answer that keeps to its form.
    """

    extraction: Extraction
    faults: tuple[AnswerFault, ...] = ()


def weight_of(value: object) -> tuple[float, list[str]]:
    """A weight, as GraphRAG takes it: 1 for what is no number."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    return (number, []) if math.isfinite(number) else (1.0, ["the weight is not a number"])


def compared(
    found: Iterable[Entity | Relation],
    places: Iterable[int],
    faults: list[AnswerFault],
    types: Collection[str],
) -> ReadAnswer:
    """What was found, also compared with the types and with itself."""
    rows = list(zip(places, found, strict=True))
    entities = [each for _, each in rows if isinstance(each, Entity)]
    relations = [each for _, each in rows if isinstance(each, Relation)]
    known = {each.name.upper() for each in entities}
    allowed = {type_key(each) for each in types}
    for number, each in rows:
        if isinstance(each, Relation):
            for name in (each.source, each.target):
                if name.upper() not in known:
                    fault = AnswerFault("a relation to an entity that is not there", number, name)
                    faults.append(fault)
        elif allowed and type_key(each.type) not in allowed:
            faults.append(AnswerFault("an unknown type", number, each.type))
    faults.sort(key=lambda fault: fault.record or math.inf)
    return ReadAnswer(Extraction(tuple(entities), tuple(relations)), tuple(faults))


def type_key(name: str) -> str:
    """A type without its case, and with one kind of gap between its words."""
    return " ".join(re.split(r"[\s_-]+", name.strip().casefold())).strip()


def line_of(text: str) -> str:
    return " ".join(text.split())[:_SHOWN]
