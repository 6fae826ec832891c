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
    """The most telling solved texts, of equals the one that chance put first.

    Args:
        types: of entities; those of others are left out.
        fits: whether a text is short enough. It is not cut, since what is in it would be wrong.
    """
    own = [replace(each, extraction=_of_types(each.extraction, types)) for each in texts]
    left = [each for each in own if each.extraction.entities and fits(each.text)]
    random.Random(seed).shuffle(left)
    solved = [
        ExtractionExample(
            f"{each.document}, line {each.row}", each.text.strip(), described(each.extraction)
        )
        for each in left
    ]
    return most_telling(solved, types, most)


def most_telling(
    solved: Sequence[ExtractionExample], types: Sequence[str], most: int
) -> list[ExtractionExample]:
    """Of solved texts those that show every type, as far as so many can.

    Each is the one that shows most of the types that are not shown yet; of equals one with
    relations, then the first.
    """
    left = list(solved)
    found: list[ExtractionExample] = []
    shown: set[str] = set()
    while left and len(found) < most:
        best = max(left, key=lambda x: (len(_types(x) - shown), bool(x.extraction.relations)))
        left.remove(best)
        shown |= _types(best)
        if shown >= set(types):
            shown = set()  # each once more
        found.append(best)
    return found


def _types(example: ExtractionExample) -> set[str]:
    return {each.type for each in example.extraction.entities}


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
