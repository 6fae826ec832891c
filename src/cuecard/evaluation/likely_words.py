"""Log-probabilities of the words of a long list, without running those that cannot matter.

    sum over words w that begin with s of p(w) <= p(s)

So the tree of the words is opened from the context on, its likeliest starts first, until the starts
that are still closed have together less than a given share of the probability of the words that
are known: a branch and bound. What is known is exact; words after a closed start get its
probability in equal parts, an upper bound of their sum. The surer
the answers, the less is opened; a prompt that has hardly learnt its labels opens nearly all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cuecard.evaluation.loglikelihood import OnRows, score_words
from cuecard.tasks.encoding.word_reads import LabelTrie
from cuecard.types import Backbone, Encoded, Injection

Start = tuple[int, ...]

# From how many tokens of a tree on it is worth running a context several times.
_WORTH = 64
# A start with at most so many tokens after it is opened to its end at once.
_SMALL = 6
# Tokens whose keys and values are kept at a time.
_KEPT_TOKENS = 4096
# How far one round brings down what is closed, so that few starts are opened too many.
_ROUND = 0.1


def is_long(words: Sequence[Start]) -> bool:
    """Whether running all of these words after each context is more than running it again."""
    return len(LabelTrie.of(words).tokens) >= _WORTH


def score_likely(
    backbone: Backbone,
    rows: Sequence[Encoded],
    words: Sequence[Start],
    injection: Injection | None,
    batch_rows: int,
    token_budget: int | None,
    on_rows: OnRows | None,
    *,
    share: float,
    offsets: Sequence[float] | None = None,
) -> list[list[float]]:
    """Each word's log-probability after each record, or a bound of it where it cannot matter.

    Args:
        words: the same for all records.
        share: of the probability of all words, what closed starts may have together.
        offsets: per word what a prior adds to its log-probability; closed starts are weighed with
            the largest of their words.
    """
    starts = _Starts.of(words, offsets or [0.0] * len(words))
    searches = [_Search(starts, share) for _ in rows]
    # Told of every pass, so that its caller can stop it; no record is done in it yet.
    told = None if on_rows is None else lambda _: on_rows(0)
    how = injection, batch_rows, token_budget, told
    with backbone.sharing(rows, injection):
        for group in _groups(rows):
            some = [rows[number] for number in group]
            with backbone.sharing(some, injection, contexts=True):
                _search(backbone, some, [searches[number] for number in group], on_rows, *how)
    return [search.scores(words) for search in searches]


def _search(
    backbone: Backbone,
    rows: Sequence[Encoded],
    searches: Sequence[_Search],
    on_rows: OnRows | None,
    injection: Injection | None,
    batch_rows: int,
    token_budget: int | None,
    told: OnRows | None,
) -> None:
    """Go on, round by round, until every record's search is over."""
    left = list(range(len(rows)))
    while left:
        asked = [searches[row].next_words() for row in left]
        some = [rows[row] for row in left]
        found = score_words(backbone, some, asked, injection, batch_rows, token_budget, told)
        for row, own, sums in zip(left, asked, found, strict=True):
            searches[row].take(own, sums)
        before, left = len(left), [row for row in left if not searches[row].is_over()]
        if on_rows is not None:
            on_rows(before - len(left))


def _groups(rows: Sequence[Encoded]) -> list[list[int]]:
    """Records whose contexts are kept together."""
    groups: list[list[int]] = []
    total = 0
    for number, row in enumerate(rows):
        if not groups or total + len(row.context) > _KEPT_TOKENS:
            groups.append([])
            total = 0
        groups[-1].append(number)
        total += len(row.context)
    return groups


@dataclass(frozen=True, slots=True)
class _Starts:
    """What the words begin with.

    Attributes:
        after: start -> the starts and words that are one token longer.
        behind: start -> the words that begin with it and are longer.
        size: start -> tokens of the tree of those words.
        most: start or word -> the largest offset of the words that begin with it.
        ends: the words that no other word begins with, which exclude each other.
    """

    after: Mapping[Start, tuple[Start, ...]]
    behind: Mapping[Start, tuple[Start, ...]]
    size: Mapping[Start, int]
    most: Mapping[Start, float]
    ends: frozenset[Start]

    @classmethod
    def of(cls, words: Sequence[Start], offsets: Sequence[float]) -> _Starts:
        after: dict[Start, dict[Start, None]] = {}
        behind: dict[Start, dict[Start, None]] = {}
        most: dict[Start, float] = {}
        for word, offset in zip(words, offsets, strict=True):
            for length in range(len(word) + 1):
                start = word[:length]
                most[start] = max(most.get(start, -math.inf), offset)
                if length < len(word):
                    after.setdefault(start, {})[word[: length + 1]] = None
                    behind.setdefault(start, {})[word] = None
        size = {
            s: len({w[:e] for w in some for e in range(len(s), len(w))})
            for s, some in behind.items()
        }
        return cls(
            {start: tuple(some) for start, some in after.items()},
            {start: tuple(some) for start, some in behind.items()},
            size,
            most,
            frozenset(word for word in words if word not in after),
        )


@dataclass(slots=True)
class _Search:
    """One record's tree, as far as it is known."""

    starts: _Starts
    share: float
    known: dict[Start, float] = field(default_factory=lambda: {(): 0.0})
    closed: set[Start] = field(default_factory=lambda: {()})
    opening: tuple[Start, ...] = ()

    def next_words(self) -> list[Start]:
        """Open the likeliest starts: what has to be known for that."""
        self.opening = self._likeliest()
        asked: dict[Start, None] = {}
        for start in self.opening:
            small = start and self.starts.size[start] <= _SMALL
            for longer in self.starts.behind[start] if small else self.starts.after[start]:
                # Everything on the way is known along with it.
                for length in range(len(start) + 1, len(longer) + 1):
                    asked[longer[:length]] = None
        return list(asked)

    def take(self, asked: Sequence[Start], sums: Sequence[float]) -> None:
        """Note what was found."""
        found = dict(zip(asked, sums, strict=True))
        self.known |= found
        self.closed -= set(self.opening)
        for start in found:
            opened = all(longer in found for longer in self.starts.after.get(start, ()))
            if start in self.starts.after and not opened:
                self.closed.add(start)

    def is_over(self) -> bool:
        """Whether what is closed has little, and the likeliest word is not among it."""
        if not self.closed:
            return True
        ended = self._ended()
        if not ended or max(map(self._weight, self.closed)) >= max(map(self._weight, ended)):
            return False
        return self._mass(self.closed) <= self.share * self._mass(ended)

    def scores(self, words: Sequence[Start]) -> list[float]:
        """Every word's log-probability, or its part of a closed start's."""
        found = []
        for word in words:
            value = self.known.get(word)
            if value is None:
                start = next(
                    word[:n] for n in range(len(word) - 1, -1, -1) if word[:n] in self.known
                )
                value = self.known[start] - math.log(len(self.starts.behind[start]))
            found.append(value)
        return found

    def _likeliest(self) -> tuple[Start, ...]:
        """The fewest starts that leave little closed."""
        order = sorted(self.closed, key=lambda start: (-self._weight(start), start))
        left = self._mass(self.closed)
        enough = max(self.share * self._mass(self._ended()), _ROUND * left)
        chosen: list[Start] = []
        for start in order:
            if chosen and left <= enough:
                break
            chosen.append(start)
            left -= math.exp(self._weight(start))
        return tuple(chosen)

    def _ended(self) -> set[Start]:
        return {word for word in self.known if word in self.starts.ends}

    def _weight(self, start: Start) -> float:
        return self.known[start] + self.starts.most[start]

    def _mass(self, starts: set[Start]) -> float:
        return math.fsum(math.exp(self._weight(start)) for start in starts)
