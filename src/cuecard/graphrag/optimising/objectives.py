"""What a search for an extraction prompt may make grow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

from cuecard.graphrag.answers import ReadAnswer
from cuecard.graphrag.gold import GoldText
from cuecard.graphrag.measuring.matching import What, counts
from cuecard.graphrag.measuring.signals import signals_of

Objective = Literal["entities", "relations", "both", "signals"]


def _f1(answer: ReadAnswer, gold: GoldText, what: What) -> float:
    """Of one text, strict; 1 where there is nothing to be found and nothing was."""
    hits, said, true = counts(answer.extraction, gold.extraction, what, "strict").totals
    return 2 * hits / (said + true) if said + true else 1.0


def _both(answer: ReadAnswer, gold: GoldText) -> float:
    return (_f1(answer, gold, "entities") + _f1(answer, gold, "relations")) / 2


OBJECTIVES: Mapping[Objective, Callable[[ReadAnswer, GoldText], float]] = MappingProxyType(
    {
        "entities": lambda answer, gold: _f1(answer, gold, "entities"),
        "relations": lambda answer, gold: _f1(answer, gold, "relations"),
        "both": _both,
        "signals": lambda answer, gold: signals_of(answer, gold.text).score,
    }
)
"""What an answer to a text is worth, from 0 to 1: F1 of the text, or what it shows without gold."""
