"""Several words after every context -> one batch, and what is to be read of it.

    log p(word) = sum over its tokens of log p(token | context, the word's tokens before)

Words that begin alike share what they begin with: "card not working" and "card not here" run
"card not" once and read there once. How that is laid out depends on what a backbone can run:

- "tree": a context with the tree of all its words after it, in one row.
- "lines": a row for each longest line of that tree, the context in each of them (an encoder runs
  equal contexts once; what the rows of a causal model have in common runs once too).
- "masks": a row for each number of masks; words of as many tokens are read at the same masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from cuecard.errors import ConfigError
from cuecard.lazy import torch
from cuecard.tasks.encoding.batching import NO_TARGET, collate
from cuecard.types import Backbone, Batch, Encoded, Injection, Reads

if TYPE_CHECKING:
    from torch import Tensor

Words = Sequence[Sequence[int]]
Layout = Literal["tree", "lines", "masks"]


@dataclass(frozen=True, slots=True)
class LabelTrie:
    """Words as a tree.

    Attributes:
        tokens: [n] the tokens that another one follows in some word, each after what it follows.
        follows: [n] the number of the token that each one follows; -1 for the context.
        edges: distinct (number of the token before, token) of all words.
        paths: per word its edges, by number.
    """

    tokens: tuple[int, ...]
    follows: tuple[int, ...]
    edges: tuple[tuple[int, int], ...]
    paths: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, words: Words) -> LabelTrie:
        """
        Raises:
            ConfigError: a word without tokens.
        """
        numbers: dict[tuple[int, int], int] = {}  # (token before, token) -> number of that token
        edges: dict[tuple[int, int], int] = {}
        tokens: list[int] = []
        follows: list[int] = []
        paths = []
        for word in words:
            if not word:
                raise ConfigError(
                    "a word has no tokens", where="words", got="()", expected="one token id or more"
                )
            before, path = -1, []
            for depth, token in enumerate(word):
                edge = (before, token)
                path.append(edges.setdefault(edge, len(edges)))
                if depth + 1 < len(word):
                    if edge not in numbers:
                        numbers[edge] = len(tokens)
                        tokens.append(token)
                        follows.append(before)
                    before = numbers[edge]
            paths.append(tuple(path))
        return cls(tuple(tokens), tuple(follows), tuple(edges), tuple(paths))

    def lines(self) -> list[list[int]]:
        """The longest lines of tokens, by number, from the context on; one empty one at least."""
        ends = set(range(len(self.tokens))) - set(self.follows)
        lines = []
        for end in sorted(ends):
            line = []
            at = end
            while at >= 0:
                line.append(at)
                at = self.follows[at]
            lines.append(line[::-1])
        return lines or [[]]


@dataclass(frozen=True, slots=True)
class WordReads:
    """A batch that words are read of.

    Attributes:
        batch: the rows, and their reads.
        at: [E] the read of each distinct token that is looked up, ascending.
        tokens: [E] the token.
        edges: [M] which of those E each token of each word is.
        words: [M] which word it belongs to; all records' words are numbered one after the other.
        count: how many words there are.
    """

    batch: Batch
    at: Tensor
    tokens: Tensor
    edges: Tensor
    words: Tensor
    count: int

    def sums(self, reads: Reads) -> Tensor:
        """[count] float64 every word's log-probability, with gradients to the reads."""
        logs = reads.log_probs(self.at, self.tokens).double()
        edges, words = self.edges.to(logs.device), self.words.to(logs.device)
        return logs.new_zeros(self.count).index_add(0, words, logs[edges])


def layout_for(
    backbone: Backbone,
    rows: Sequence[tuple[Encoded, Words]],
    injection: Injection | None,
    *,
    cut: bool = False,
) -> Layout:
    """How these records' words are laid out so that the backbone can run them.

    Args:
        cut: whether words may be run in several pieces; then only the longest one has to fit.
    """
    if any(row.mask is not None for row, _ in rows):
        return "masks"
    space = tree_space(backbone, injection)
    for row, words in rows:
        tokens = max(map(len, words), default=1) if cut else 1 + len(LabelTrie.of(words).tokens)
        if len(row.context) + tokens > space:
            return "lines"
    return "tree"


def tree_space(backbone: Backbone, injection: Injection | None) -> int:
    """The most tokens that a context and the tree after it may have together."""
    return backbone.tree_room - (0 if injection is None else injection.length)


def collate_words(rows: Sequence[tuple[Encoded, Words]], layout: Layout) -> WordReads:
    """The batch of these records and their words.

    Raises:
        ConfigError: no rows, or a word without tokens.
    """
    made = [_RowReads.of(words, layout) for _, words in rows]
    pairs = [
        (row, (*line, NO_TARGET) if layout != "masks" else line)
        for (row, _), own in zip(rows, made, strict=True)
        for line in own.lines
    ]
    batch = collate(pairs)
    kept: list[int] = []
    at: list[int] = []
    tokens: list[int] = []
    edges: list[int] = []
    members: list[int] = []
    first = count = 0
    for own in made:
        base = len(tokens)
        reads = {read: len(kept) + place for place, read in enumerate(own.reads)}
        kept += [first + read for read in own.reads]
        at += [reads[read] for read, _ in own.edges]
        tokens += [token for _, token in own.edges]
        for path in own.paths:
            edges += [base + edge for edge in path]
            members += [count] * len(path)
            count += 1
        first += own.total
    chosen = torch.tensor(kept)
    batch = replace(
        batch,
        read_rows=batch.read_rows[chosen],
        read_at=batch.read_at[chosen],
        target_ids=batch.target_ids[chosen],
        follows=_follows(rows, made, batch) if layout == "tree" else None,
    )
    columns = _numbers(at), _numbers(tokens), _numbers(edges), _numbers(members)
    return WordReads(batch, *columns, count)


def _numbers(values: Sequence[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


@dataclass(frozen=True, slots=True)
class _RowReads:
    """One record's words as lines, and what is read of them.

    Attributes:
        lines: the tokens that are run after the context, row by row.
        follows: of the one line that is a tree.
        total: how many reads `collate` makes of the lines.
        reads: those that are needed, by number, ascending.
        edges: distinct (read, token), in the order of their reads.
        paths: per word its edges.
    """

    lines: tuple[tuple[int, ...], ...]
    follows: tuple[int, ...]
    total: int
    reads: tuple[int, ...]
    edges: tuple[tuple[int, int], ...]
    paths: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, words: Words, layout: Layout) -> _RowReads:
        if layout == "masks":
            return cls._at_masks(words)
        tree = LabelTrie.of(words)
        lines: tuple[tuple[int, ...], ...] = (tree.tokens,)
        if layout == "tree":
            behind = dict(enumerate(range(1, len(tree.tokens) + 1)))
            total = 1 + len(tree.tokens)
        else:
            numbers = tree.lines()
            lines = tuple(tuple(tree.tokens[n] for n in line) for line in numbers)
            behind, total = {}, 0
            for line in numbers:
                for place, number in enumerate(line, start=1):
                    behind.setdefault(number, total + place)
                total += len(line) + 1
        behind[-1] = 0
        edges = [(behind[before], token) for before, token in tree.edges]
        return cls._sorted(lines, tree.follows, total, edges, tree.paths)

    @classmethod
    def _at_masks(cls, words: Words) -> _RowReads:
        sizes = sorted({len(word) for word in words})
        starts, total = {}, 0
        for size in sizes:
            starts[size] = total
            total += size
        edges: dict[tuple[int, int], int] = {}
        paths = tuple(
            tuple(
                edges.setdefault((starts[len(word)] + place, token), len(edges))
                for place, token in enumerate(word)
            )
            for word in words
        )
        lines = tuple((NO_TARGET,) * size for size in sizes)
        return cls._sorted(lines, (), total, list(edges), paths)

    @classmethod
    def _sorted(
        cls,
        lines: tuple[tuple[int, ...], ...],
        follows: tuple[int, ...],
        total: int,
        edges: Sequence[tuple[int, int]],
        paths: Sequence[tuple[int, ...]],
    ) -> _RowReads:
        order = sorted(range(len(edges)), key=lambda number: edges[number][0])
        new = {old: number for number, old in enumerate(order)}
        return cls(
            lines=lines,
            follows=follows,
            total=total,
            reads=tuple(sorted({read for read, _ in edges})),
            edges=tuple(edges[number] for number in order),
            paths=tuple(tuple(new[edge] for edge in path) for path in paths),
        )


def _follows(
    rows: Sequence[tuple[Encoded, Words]], made: Sequence[_RowReads], batch: Batch
) -> Tensor:
    """[B, T] the number of the token that each token follows."""
    found = torch.arange(-1, batch.input_ids.shape[1] - 1).repeat(len(rows), 1)
    for row, ((encoded, _), own) in enumerate(zip(rows, made, strict=True)):
        length = len(encoded.context)
        behind = [length + before if before >= 0 else length - 1 for before in own.follows]
        found[row, length : length + len(behind)] = torch.tensor(behind, dtype=torch.int64)
    return found
