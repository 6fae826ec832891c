"""Label words by a linear probe of what a model makes of labelled rows, as in AutoPrompt.

Sizes: n rows, H hidden size, V vocabulary, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cuecard.evaluation.predict import BATCH_ROWS
from cuecard.lazy import lazy_module, torch
from cuecard.tasks import collate
from cuecard.types import Backbone, Encoded, Injection

if TYPE_CHECKING:
    from torch import Tensor

linear_model = lazy_module("sklearn.linear_model")

# Of the solver: a fit on some hundred rows takes a few dozen.
_STEPS = 1000


def read_at_head(
    backbone: Backbone, rows: Sequence[Encoded], injection: Injection | None
) -> tuple[Tensor, Tensor]:
    """What a model's output embedding takes in and gives, after each row or at its mask.

    Returns:
        [n, V] float64 log-probabilities, and [n, H] float32 states.
    """
    head, seen = backbone.model.get_output_embeddings(), list[Any]()
    logs, states = [], []

    def keep(module: Any, inputs: tuple[Any, ...]) -> None:
        seen.append(inputs[0].flatten(0, -2))

    for start in range(0, len(rows), BATCH_ROWS):
        some = rows[start : start + BATCH_ROWS]
        batch = collate([(row, ()) for row in some], read="next")
        reads = backbone.read(batch, injection, keep="both")
        seen.clear()
        hook = head.register_forward_pre_hook(keep)
        try:
            logs.append(reads.logits().double().log_softmax(-1).cpu())
        finally:
            hook.remove()
        # A masked model's head changes states before words are said; a first call tries it out.
        found = torch.cat(seen)[-len(some) :] if seen else reads.states()
        states.append(found.float().cpu())
    return torch.cat(logs), torch.cat(states)


def probe_scores(states: Tensor, gold: Sequence[int], table: Tensor) -> Tensor:
    """[L, V] the log-odds of every label at the output embedding of every word.

    Shin et al. 2020 (arXiv:2010.15980), section 2.3: a logistic regression is fitted to the states
    [n, H] of rows with their labels, p(y | h) ~ exp(h y + b_y), and then asked for the label of
    every word, with its output embedding in place of h: s(y, w) = p(y | w_out). The L2 penalty is 1
    for states of size one.

    Args:
        gold: [n] number of each row's label, all of 0 to L - 1 among them.
        table: [V, H] output embeddings.
    """
    size = states.square().mean().sqrt()
    probe = linear_model.LogisticRegression(max_iter=_STEPS)
    probe.fit((states / size).numpy(), list(gold))
    weights, biases = (torch.from_numpy(each).double() for each in (probe.coef_, probe.intercept_))
    logits = weights @ (table.double().cpu() / size.double()).T + biases[:, None]
    if len(logits) == 1:  # of the second of two labels
        return torch.cat([-logits, logits])
    others = [torch.cat([logits[:y], logits[y + 1 :]]).logsumexp(0) for y in range(len(logits))]
    return logits - torch.stack(others)
