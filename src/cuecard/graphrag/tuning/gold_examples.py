"""Examples that people have solved, in place of those that an LLM is asked for."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from cuecard.graphrag.described import described
from cuecard.graphrag.gold import GoldText, with_type_names
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
    own = [replace(each, extraction=_of_types(each.extraction, types)) for each in texts]
    left = [each for each in own if each.extraction.entities and fits(each.text)]
    random.Random(seed).shuffle(left)
    found: list[ExtractionExample] = []
    shown: set[str] = set()
    while left and len(found) < most:
        best = max(left, key=lambda x: (len(_types(x) - shown), bool(x.extraction.relations)))
        left.remove(best)
        shown |= _types(best)
        if shown >= set(types):
            shown = set()  # each once more
        source = f"{best.document}, line {best.row}"
        found.append(ExtractionExample(source, best.text.strip(), described(best.extraction)))
    return found


def _types(text: GoldText) -> set[str]:
    return {each.type for each in text.extraction.entities}


def _of_types(extraction: Extraction, types: Sequence[str]) -> Extraction:
    """What is of some types, each once, and relations between these."""
    named = with_type_names(extraction, {each: each for each in types}).entities
    entities = {(each.name, each.type): each for each in named if each.type in types}
    names = {name for name, _ in entities}
    relations = {
        (each.source, each.target, each.type): each
        for each in extraction.relations
        if {each.source, each.target} <= names
    }
    return Extraction(tuple(entities.values()), tuple(relations.values()))
