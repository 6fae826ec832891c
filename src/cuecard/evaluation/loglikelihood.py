"""Log-probabilities of labels' words after every record, as few tokens run as can be.

What all records begin with (instruction, chat header, demonstrations, prompt) runs once per call
where a backbone can hold it; each record's context runs once; and its words run as a tree of their
tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cuecard.lazy import torch
from cuecard.tasks.encoding.batching import collate, ordered_batches
from cuecard.tasks.encoding.word_reads import (
    LabelTrie,
    Layout,
    Words,
    collate_words,
    layout_for,
    tree_space,
)
from cuecard.types import Backbone, Encoded, Injection

if TYPE_CHECKING:
    from torch import Tensor

OnRows = Callable[[int], None]
"""Told how many records are done."""

# Tokens of one pass where nobody says: enough to fill a processor, and over in a few seconds.
PASS_TOKENS = 2048
# Tokens of one tree. Attention is over pairs of them, so that long lists are cut into several.
_TREE_TOKENS = 256


def score_next(
    backbone: Backbone,
    rows: Sequence[Encoded],
    firsts: Sequence[int],
    injection: Injection | None,
    batch_rows: int,
    token_budget: int | None,
    on_rows: OnRows | None,
) -> Tensor:
    """Log-probabilities [n, L] of single tokens: one row and one read per record."""
    scores = torch.zeros(len(rows), len(firsts), dtype=torch.float64)
    lengths = [len(row.context) for row in rows]
    batches = ordered_batches(lengths, batch_rows, token_budget)
    with sharing_front(backbone, rows, injection, batches):
        for chosen in batches:
            batch = collate([(rows[i], ()) for i in chosen], read="next")
            logits = backbone.forward(batch, injection)
            logs = (logits[:, list(firsts)] - logits.logsumexp(-1, keepdim=True)).double()
            scores[chosen] = logs.cpu()
            if on_rows is not None:
                on_rows(len(chosen))
    return scores


def sharing_front(
    backbone: Backbone,
    rows: Sequence[Encoded],
    injection: Injection | None,
    batches: Sequence[Sequence[int]],
) -> AbstractContextManager[None]:
    """What rows have in common is run apart where they make several batches."""
    return backbone.sharing(rows, injection) if len(batches) > 1 else nullcontext()


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some of a record's words, by number, and the tokens that they and their context take."""

    row: int
    words: tuple[int, ...]
    tokens: int


def score_words(
    backbone: Backbone,
    rows: Sequence[Encoded],
    words: Sequence[Words],
    injection: Injection | None,
    batch_rows: int,
    token_budget: int | None,
    on_rows: OnRows | None,
) -> list[list[float]]:
    """Summed log-probabilities of each record's words, of any length.

    Args:
        words: each record's.
        batch_rows: the most records in a pass.
        token_budget: the most tokens of a pass; by default as many as fill a processor.
    """
    scores = [[0.0] * len(some) for some in words]
    pairs = list(zip(rows, words, strict=True))
    layout, room = layout_for(backbone, pairs, injection, cut=True), tree_space(backbone, injection)
    pieces = [
        piece
        for number, (row, some) in enumerate(pairs)
        for piece in _pieces(number, row, some, layout, room, backbone.causal)
    ]
    budget = token_budget or PASS_TOKENS
    batches = ordered_batches([piece.tokens for piece in pieces], batch_rows, budget)
    run = finished = 0
    with sharing_front(backbone, rows, injection, batches):
        for batch in batches:
            chosen = [pieces[number] for number in batch]
            _score(backbone, rows, words, injection, chosen, layout, scores)
            # A record's pieces lie in batches far apart: what is told is the work of so many.
            run += len(batch)
            before, finished = finished, len(rows) * run // len(pieces)
            if on_rows is not None:
                on_rows(finished - before)
    return scores


def _score(
    backbone: Backbone,
    rows: Sequence[Encoded],
    words: Sequence[Words],
    injection: Injection | None,
    pieces: Sequence[_Piece],
    layout: Layout,
    scores: list[list[float]],
) -> None:
    """Run some pieces and put their words' scores where they belong."""
    # Padded rows of a causal model share what all rows of a part have in common.
    apart = layout == "lines" and backbone.causal
    parts = [[piece] for piece in pieces] if apart else [list(pieces)]
    made = [
        collate_words(
            [(rows[p.row], [words[p.row][word] for word in p.words]) for p in part], layout
        )
        for part in parts
    ]
    found = backbone.read_many([(each.batch, injection) for each in made])
    for part, each, reads in zip(parts, made, found, strict=True):
        sums = iter(each.sums(reads).tolist())
        for piece in part:
            for word in piece.words:
                scores[piece.row][word] = next(sums)


def _pieces(
    number: int, row: Encoded, words: Words, layout: Layout, room: int, causal: bool
) -> list[_Piece]:
    """A record's words in pieces that each fit."""
    context = len(row.context)
    if layout == "masks":
        tokens = sum(context + size for size in {len(word) for word in words})
        return [_Piece(number, tuple(range(len(words))), tokens)]
    # In the order of their tokens, words that begin alike stand together.
    order = sorted(range(len(words)), key=lambda word: tuple(words[word]))
    most = min(_TREE_TOKENS, room - context) if layout == "tree" else _TREE_TOKENS
    pieces = []
    for chosen in _cut(order, words, most):
        tree = LabelTrie.of([words[word] for word in chosen])
        tokens = context + len(tree.tokens)
        if layout == "lines":
            lines = tree.lines()
            # An encoder runs equal contexts once.
            contexts = len(lines) if causal else 1
            tokens = context * contexts + sum(len(line) + 1 for line in lines)
        pieces.append(_Piece(number, tuple(chosen), tokens))
    return pieces


def _cut(order: Sequence[int], words: Words, most: int) -> list[list[int]]:
    """Words in groups whose trees have at most so many tokens."""
    groups: list[list[int]] = []
    starts: set[tuple[int, ...]] = set()
    for number in order:
        word = tuple(words[number])
        own = {word[:end] for end in range(1, len(word))}
        if not groups or len(starts | own) > most:
            groups.append([])
            starts = set()
        groups[-1].append(number)
        starts |= own
    return groups
