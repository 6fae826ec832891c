"""What answers are worth without gold: form, grounding, coverage, agreement."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from cuecard.graphrag.answers import ReadAnswer
from cuecard.graphrag.gold import GoldText
from cuecard.graphrag.measuring.figures import Figure, MeanFigure, RateFigure
from cuecard.graphrag.measuring.matching import Name, within, words_of
from cuecard.graphrag.measuring.scores import ExtractionScores
from cuecard.graphrag.records import Extraction
from cuecard.lazy import np
from cuecard.metrics.statistics import micro_f1

# Where sentences end, roughly: those of scripts without spaces too.
_ENDS = re.compile(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])|\n+")


@dataclass(frozen=True, slots=True)
class ChunkSignals:
    """What an answer to a chunk shows by itself.

    Attributes:
        conforms: whether nothing is wrong with its form.
        entities: how many different names it has.
        grounded: how many of them stand in the chunk, word for word.
        covered: the share of the chunk's sentences with one of these.
    """

    conforms: bool
    entities: int
    grounded: int
    covered: float

    @property
    def empty(self) -> bool:
        """Whether it has no entity."""
        return self.entities == 0

    @property
    def grounding(self) -> float:
        """The share of names that stand in the chunk; 0 without any."""
        return self.grounded / self.entities if self.entities else 0.0

    @property
    def score(self) -> float:
        """One number for a search, from 0 to 1: the harmonic mean of grounding and coverage, half
        of it where the form is wrong. A few safe names do not cover, and guesses are not grounded.
        """
        both = self.grounding + self.covered
        mean = 2 * self.grounding * self.covered / both if both else 0.0
        return mean if self.conforms else mean / 2


def signals_of(answer: ReadAnswer, text: str) -> ChunkSignals:
    """What an answer to a chunk shows."""
    names = list(dict.fromkeys(words_of(each.name) for each in answer.extraction.entities))
    words = words_of(text)
    grounded = [name for name in names if within(name, words)]
    return ChunkSignals(not answer.faults, len(names), len(grounded), _covered(grounded, text))


def _covered(names: Sequence[Name], text: str) -> float:
    sentences = [words for part in _ENDS.split(text) if (words := words_of(part))]
    held = sum(any(within(name, sentence) for name in names) for sentence in sentences)
    return held / len(sentences) if sentences else 0.0


@dataclass(frozen=True)
class SignalShares:
    """Signals of many chunks.

    Attributes:
        rows: of each chunk, in order.
        faults: what was wrong -> in how many answers, the most frequent first.
    """

    rows: tuple[ChunkSignals, ...]
    faults: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, answers: Sequence[ReadAnswer], texts: Sequence[str]) -> SignalShares:
        """Of answers to chunks, in their order."""
        rows = tuple(signals_of(*pair) for pair in zip(answers, texts, strict=True))
        wrong = Counter(what for answer in answers for what in {f.what for f in answer.faults})
        return cls(rows, tuple(wrong.most_common()))

    def figure(self, name: str) -> Figure:
        """A signal over all chunks: one of `SIGNALS`. Grounding is the share of all names."""
        if name == "grounding":
            grounded, found = (
                np.asarray([[getattr(row, key)] for row in self.rows], dtype=np.float64)
                for key in ("grounded", "entities")
            )
            return RateFigure(micro_f1(grounded, found, found))
        return MeanFigure(tuple(float(getattr(row, SIGNALS[name])) for row in self.rows))

    def to_dict(self, seed: int) -> dict[str, Any]:
        """As JSON knows it."""
        figures = {name: self.figure(name) for name in SIGNALS}
        return {
            **{name: each.value for name, each in figures.items()},
            "ci95": {name: each.interval(seed) for name, each in figures.items()},
            "entities_per_chunk": sum(row.entities for row in self.rows) / len(self.rows),
            "faults": dict(self.faults),
        }


SIGNALS: Mapping[str, str] = MappingProxyType(
    {
        "conformance": "conforms",
        "empty": "empty",
        "grounding": "grounding",
        "coverage": "covered",
        "score": "score",
    }
)
"""Signals by name -> the field of a chunk's."""


def agreement(first: Sequence[Extraction], second: Sequence[Extraction]) -> ExtractionScores:
    """How alike two runs over the same chunks are: the one's entities, with the other's as gold."""
    gold = [GoldText("", each, row, str(row)) for row, each in enumerate(second, 1)]
    return ExtractionScores.of(gold, first, "entities", "strict")
