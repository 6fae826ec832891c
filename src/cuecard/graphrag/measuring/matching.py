"""Which entities and relations of an answer are right.

Names are compared as words: without case, and without what stands between words.

* strict: an entity's name and type are the same; a relation's ends have the same names in the same
  order, and the same type where the answer gives it one (GraphRAG's own form gives none).
* relaxed: an entity's type is the same, and its name overlaps: all words of one stand in the other,
  in a row, or half of the words that either has are in both. A relation's ends overlap so, in
  either order, whatever its type.

Equal ones count once, and each one is right for one other at most: as many pairs as possible are
made (by augmenting paths; Kuhn 1955).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from cuecard.graphrag.answers.faults import type_key
from cuecard.graphrag.records import Entity, Extraction, Relation

Match = Literal["strict", "relaxed"]
What = Literal["entities", "relations"]

Name = tuple[str, ...]

# The share of words that two names must have in common, of those that either has.
_ALIKE = 0.5
# Kana and Han stand without spaces between words: each sign counts as one.
_CJK = r"[\u3040-\u30ff\u3400-\u9fff]"
_WORD = re.compile(rf"{_CJK}|(?:(?!{_CJK})\w)+")


@dataclass(frozen=True, slots=True)
class MatchCounts:
    """How many were right, found, and there to be found, by type.

    Attributes:
        hits: right ones, by the gold's type.
        said: found ones, by their own type; "" for those without one.
        true: those of the gold.
    """

    hits: Mapping[str, int]
    said: Mapping[str, int]
    true: Mapping[str, int]

    @property
    def totals(self) -> tuple[int, int, int]:
        """Right, found, there to be found: of all types."""
        return sum(self.hits.values()), sum(self.said.values()), sum(self.true.values())


def words_of(text: str) -> Name:
    """A text's words in the form that names are compared in; the text itself where it has none."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return tuple(_WORD.findall(plain)) or ((plain.strip(),) if plain.strip() else ())


def within(name: Name, text: Name) -> bool:
    """Whether all words of a name stand in a text, in a row."""
    count = len(name)
    return any(text[at : at + count] == name for at in range(len(text) - count + 1))


def overlap(one: Name, other: Name) -> bool:
    """Whether two names are one in the relaxed sense."""
    if within(one, other) or within(other, one):
        return True
    both = len({*one} & {*other})
    return both >= _ALIKE * len({*one} | {*other})


@dataclass(frozen=True, slots=True)
class _EntityKey:
    name: Name
    type: str

    def is_hit(self, true: _EntityKey, match: Match) -> bool:
        if match == "strict":
            return self == true
        return self.type == true.type and overlap(self.name, true.name)


@dataclass(frozen=True, slots=True)
class _RelationKey:
    source: Name
    target: Name
    type: str

    def is_hit(self, true: _RelationKey, match: Match) -> bool:
        if match == "strict":
            ends = (self.source, self.target) == (true.source, true.target)
            return ends and self.type in ("", true.type)
        orders = ((true.source, true.target), (true.target, true.source))
        return any(overlap(self.source, a) and overlap(self.target, b) for a, b in orders)


Key = TypeVar("Key", _EntityKey, _RelationKey)


def _entity(each: Entity) -> _EntityKey:
    return _EntityKey(words_of(each.name), type_key(each.type))


def _relation(each: Relation) -> _RelationKey:
    return _RelationKey(words_of(each.source), words_of(each.target), type_key(each.type))


def counts(said: Extraction, true: Extraction, what: What, match: Match) -> MatchCounts:
    """What of an answer is right."""
    if what == "entities":
        return _counted(map(_entity, said.entities), map(_entity, true.entities), match)
    return _counted(map(_relation, said.relations), map(_relation, true.relations), match)


def _counted(said: Iterable[Key], true: Iterable[Key], match: Match) -> MatchCounts:
    ours, gold = list(dict.fromkeys(said)), list(dict.fromkeys(true))
    allowed = [[n for n, one in enumerate(gold) if each.is_hit(one, match)] for each in ours]
    hits = Counter(gold[number].type for number in _paired(allowed))
    return MatchCounts(hits, Counter(x.type for x in ours), Counter(x.type for x in gold))


def _paired(allowed: Sequence[Sequence[int]]) -> set[int]:
    """As many different numbers as can be had, one at most from each list."""
    holder: dict[int, int] = {}

    def place(row: int, seen: set[int]) -> bool:
        for number in allowed[row]:
            if number not in seen:
                seen.add(number)
                if number not in holder or place(holder[number], seen):
                    holder[number] = row
                    return True
        return False

    for row in range(len(allowed)):
        place(row, set())
    return set(holder)
