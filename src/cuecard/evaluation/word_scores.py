"""Log-probabilities of labels' words behind every record, as few tokens run as can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cuecard.tasks.batching import collate, ordered_batches
from cuecard.types import Backbone, Encoded, Injection

Part = list[tuple[int, int]]
"""Records and words by their numbers."""
OnRows = Callable[[int], None]
"""Told how many records are done."""


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
    for chosen in ordered_batches(lengths, batch_rows, token_budget):
        batch = collate([(rows[i], ()) for i in chosen], read="next")
        logits = backbone.forward(batch, injection)
        logs = (logits[:, list(firsts)] - logits.logsumexp(-1, keepdim=True)).double()
        scores[chosen] = logs.cpu()
        if on_rows is not None:
            on_rows(len(chosen))
    return scores


def score_words(
    backbone: Backbone,
    rows: Sequence[Encoded],
    words: Sequence[Sequence[Sequence[int]]],
    injection: Injection | None,
    batch_rows: int,
    token_budget: int | None,
    on_rows: OnRows | None,
) -> list[list[float]]:
    """Summed log-probabilities of each record's words, of any length: one row for each of both."""
    scores = [[0.0] * len(some) for some in words]
    left = list(map(len, words))
    longer = 0 if injection is None else injection.length
    for parts in _parts(rows, words, longer if backbone.causal else None, batch_rows, token_budget):
        batches = [collate([(rows[row], words[row][label]) for row, label in p]) for p in parts]
        batches = [batch.to(backbone.device) for batch in batches]
        found = backbone.read_many([(batch, injection) for batch in batches])
        for part, batch, reads in zip(parts, batches, found, strict=True):
            logs = -reads.nll(batch.target_ids).double()
            sums = torch.zeros(len(part), dtype=torch.float64, device=logs.device)
            sums = sums.index_add(0, batch.read_rows, logs)
            for (row, label), total in zip(part, sums.tolist(), strict=True):
                scores[row][label] = total
                left[row] -= 1
        finished = sum(left[row] == 0 for row in {row for part in parts for row, _ in part})
        if on_rows is not None and finished:
            on_rows(finished)
    return scores


def _parts(
    rows: Sequence[Encoded],
    words: Sequence[Sequence[Sequence[int]]],
    prompt: int | None,
    batch_rows: int,
    token_budget: int | None,
) -> list[list[Part]]:
    """What runs together, longest first, and the parts of it that each share what they can.

    A part is a record with all its words, so that its context runs once, or else rows of any
    records, which have the prompt alone in common: whichever is less.

    Args:
        prompt: how many places the prompt takes; None where only equal rows are run once.
    """
    each = [[(row, label) for label in range(len(some))] for row, some in enumerate(words)]
    contexts = [len(row.context) for row in rows]
    again = sum(n * (len(some) - 1) for n, some in zip(contexts, words, strict=True))
    if prompt is not None and again > prompt * max(0, len(rows) - 1):
        together = max(1, batch_rows // max(map(len, words)))
        sizes = [
            prompt + context + sum(map(len, some))
            for context, some in zip(contexts, words, strict=True)
        ]
        batches = ordered_batches(sizes, together, token_budget)
        return [[each[row] for row in chosen] for chosen in batches]
    pairs = [pair for part in each for pair in part]
    lengths = [contexts[row] + len(words[row][label]) - 1 for row, label in pairs]
    batches = ordered_batches(lengths, batch_rows, token_budget)
    return [[[pairs[i] for i in chosen]] for chosen in batches]
