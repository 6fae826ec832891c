"""Precision, recall and F1 of extractions, with intervals over documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_args

from cuecard.graphrag.gold import GoldText
from cuecard.graphrag.measuring.figures import RateFigure
from cuecard.graphrag.measuring.matching import Match, MatchCounts, What, counts
from cuecard.graphrag.records import Extraction
from cuecard.lazy import np
from cuecard.metrics.statistics import F1, micro_f1

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
else:
    Floats = Any

_RATES: Mapping[str, Callable[[Floats, Floats, Floats], F1]] = MappingProxyType(
    {
        "f1": micro_f1,
        # 2 hits / (said + said), and the same of what is true.
        "precision": lambda hits, said, true: micro_f1(hits, said, said),
        "recall": lambda hits, said, true: micro_f1(hits, true, true),
    }
)


@dataclass(frozen=True, slots=True)
class TypeScore:
    """Scores of one type.

    Attributes:
        hits, said, true: right ones, found ones, and those that are there.
        typed: whether answers give types, so that what was found of this one is known.
    """

    hits: int
    said: int
    true: int
    typed: bool

    def to_dict(self) -> dict[str, float | None]:
        """As JSON knows it."""
        precision = _share(self.hits, self.said) if self.typed else None
        f1 = _share(2 * self.hits, self.said + self.true) if self.typed else None
        recall = _share(self.hits, self.true)
        return {"precision": precision, "recall": recall, "f1": f1, "true": self.true}


@dataclass(frozen=True)
class ExtractionScores:
    """How right answers are, of entities or of relations, by one rule.

    Attributes:
        what, match: see `cuecard.graphrag.measuring.matching`.
        rows: each document's counts, [D].
    """

    what: What
    match: Match
    rows: tuple[MatchCounts, ...]

    @classmethod
    def of(
        cls, texts: Sequence[GoldText], answers: Sequence[Extraction], what: What, match: Match
    ) -> ExtractionScores:
        """The scores of answers to texts, in their order; texts of one document are one row."""
        rows: dict[str, list[MatchCounts]] = {}
        for text, answer in zip(texts, answers, strict=True):
            found = counts(answer, text.extraction, what, match)
            rows.setdefault(text.document, []).append(found)
        return cls(what, match, tuple(map(_summed, rows.values())))

    @cached_property
    def _table(self) -> Floats:
        """[3, D]: right, found, there."""
        return np.asarray([row.totals for row in self.rows], dtype=np.float64).T

    def figure(self, name: str = "f1") -> RateFigure:
        """ "f1", "precision" or "recall" over all types and documents (micro)."""
        return RateFigure(_RATES[name](*self._table))

    def by_type(self) -> dict[str, TypeScore]:
        """Each type's scores, the most frequent one first."""
        whole = _summed(self.rows)
        typed = self.what == "entities" or any(whole.said)
        names = sorted(whole.true, key=lambda name: -whole.true[name])
        return {
            name: TypeScore(
                whole.hits.get(name, 0), whole.said.get(name, 0), whole.true[name], typed
            )
            for name in names
        }

    def to_dict(self, seed: int) -> dict[str, Any]:
        """As JSON knows it; intervals by the Bayesian bootstrap over documents."""
        rates = {name: self.figure(name) for name in _RATES}
        hits, said, true = self._table.sum(1).astype(int).tolist()
        return {
            **{name: each.value for name, each in rates.items()},
            "ci95": {name: each.interval(seed) for name, each in rates.items()},
            "counts": {"right": hits, "found": said, "there": true},
            "by_type": {name: each.to_dict() for name, each in self.by_type().items()},
        }


def all_scores(
    texts: Sequence[GoldText], answers: Sequence[Extraction]
) -> dict[tuple[What, Match], ExtractionScores]:
    """Scores of entities and relations, strict and relaxed."""
    return {
        (what, match): ExtractionScores.of(texts, answers, what, match)
        for what in get_args(What)
        for match in get_args(Match)
    }


def _summed(rows: Sequence[MatchCounts]) -> MatchCounts:
    parts = ([getattr(row, name) for row in rows] for name in ("hits", "said", "true"))
    return MatchCounts(*(sum(map(Counter, each), Counter[str]()) for each in parts))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
