"""Examples that people have solved, in place of those that an LLM is asked for."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from cuecard.graphrag.answers.faults import type_key
from cuecard.graphrag.described import described
from cuecard.graphrag.gold import GoldText
from cuecard.graphrag.prompts.sources import ExtractionExample
from cuecard.graphrag.records import Extraction


def gold_examples(
    texts: Sequence[GoldText],
    types: Sequence[str],
    most: int,
    seed: int,
    fits: Callable[[str], bool],
) -> list[ExtractionExample]:
    """Solved texts that show every type, as far as so many can.

    Each is the one that shows most of the types that are not shown yet; of equals one with
    relations, then the one that chance put first.

    Args:
        types: of entities; those of others are left out.
        fits: whether a text is short enough. It is not cut, since what is in it would be wrong.
    """
    known = {type_key(each): each for each in types}
    own = [replace(each, extraction=_of_types(each.extraction, known)) for each in texts]
    left = [each for each in own if each.extraction.entities and fits(each.text)]
    random.Random(seed).shuffle(left)
    found: list[ExtractionExample] = []
    shown: set[str] = set()
    while left and len(found) < most:

        def worth(text: GoldText, shown: set[str] = shown) -> tuple[int, bool]:
            return len(_types(text) - shown), bool(text.extraction.relations)

        best = max(left, key=worth)
        left.remove(best)
        shown |= _types(best)
        if shown >= set(known.values()):
            shown = set()  # each once more
        source = f"{best.document}, line {best.row}"
        found.append(ExtractionExample(source, best.text.strip(), described(best.extraction)))
    return found


def _types(text: GoldText) -> set[str]:
    return {each.type for each in text.extraction.entities}


def _of_types(extraction: Extraction, known: dict[str, str]) -> Extraction:
    """What is of known types, each once, and relations between these."""
    entities = {
        (each.name, type_key(each.type)): replace(each, type=known[type_key(each.type)])
        for each in extraction.entities
        if type_key(each.type) in known
    }
    names = {name for name, _ in entities}
    relations = {
        (each.source, each.target, each.type): each
        for each in extraction.relations
        if {each.source, each.target} <= names
    }
    return Extraction(tuple(entities.values()), tuple(relations.values()))
