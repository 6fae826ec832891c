"""Log-probabilities of given continuations, and whether they are what the model would write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cuecard.evaluation.loglikelihood import PASS_TOKENS, OnRows, sharing_front
from cuecard.evaluation.predict import BATCH_ROWS
from cuecard.lazy import inference_mode, torch
from cuecard.tasks.encoding.batching import collate, ordered_batches, row_lengths
from cuecard.types import Backbone, Encoded, Injection


class Continuation(NamedTuple):
    """What a model makes of a row's target.

    Attributes:
        logprob: the sum over its tokens of log p(token | context and tokens before).
        greedy: whether each of its tokens is the likeliest there.
    """

    logprob: float
    greedy: bool


@inference_mode
def score_targets(
    backbone: Backbone,
    rows: Sequence[Encoded],
    injection: Injection | None,
    *,
    batch_rows: int = BATCH_ROWS,
    on_rows: OnRows | None = None,
) -> list[Continuation]:
    """Read every token of each row's target in one pass (teacher forcing).

    Args:
        rows: contexts with targets of one token or more.
        batch_rows: the most rows in a forward pass.
        on_rows: called after every pass with the number of rows just scored.

    Raises:
        BackboneError: a row that does not fit the backbone.
        ConfigError: a row without a target.
    """
    found = [Continuation(0.0, True)] * len(rows)
    batches = ordered_batches(row_lengths(rows), batch_rows, PASS_TOKENS)
    with sharing_front(backbone, rows, injection, batches):
        for chosen in batches:
            batch = collate([(rows[i], rows[i].target) for i in chosen])
            reads = backbone.read(batch, injection)
            sizes = [len(rows[i].target) for i in chosen]  # the reads are in the rows' order
            costs = torch.split(reads.nll(batch.target_ids).double(), sizes)
            likeliest = torch.split(reads.likeliest(batch.target_ids), sizes)
            for i, cost, first in zip(chosen, costs, likeliest, strict=True):
                found[i] = Continuation(-float(cost.sum()), bool(first.all()))
            if on_rows is not None:
                on_rows(len(chosen))
    return found
