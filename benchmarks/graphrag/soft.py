"""What a soft prompt that extracts begins as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cuecard.graphrag.answers import tuples_of
from cuecard.graphrag.gold import read_gold
from cuecard.graphrag.records import Extraction
from cuecard.graphrag.tuning.gold_examples import gold_examples

# Solved texts that a soft prompt begins as, and the most words of each.
_STARTS, _START_WORDS = 2, 30
TEMPLATE = "Text: {text}\nOutput:"
"""How a text stands in a row."""


def start_text(gold: Path, types: Sequence[str], seed: int) -> str:
    """What a soft prompt begins as: the types, and solved texts as its template and target are."""
    texts, fits = read_gold(gold).texts, lambda text: len(text.split()) <= _START_WORDS
    shown = [
        f"{TEMPLATE.format(text=each.text)} {tuples_of(_undescribed(each.extraction))}"
        for each in gold_examples(texts, types, _STARTS, seed, fits)
    ]
    return "\n\n".join([f"Types: {', '.join(types)}", *shown, ""])


def _undescribed(extraction: Extraction) -> Extraction:
    entities = tuple(replace(each, description="") for each in extraction.entities)
    relations = tuple(replace(each, description="") for each in extraction.relations)
    return Extraction(entities, relations)
