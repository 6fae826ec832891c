"""What is at the reads of a task with a head: hidden states, and what the head makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from cuecard.evaluation.loglikelihood import sharing_front
from cuecard.lazy import inference_mode, np, torch
from cuecard.tasks.encoding.batching import ordered_batches
from cuecard.tasks.encoding.head_inputs import HeadRows, read_for_heads
from cuecard.types import Backbone, Encoded, Head, Injection

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@inference_mode
def head_outputs(
    backbone: Backbone,
    rows: Sequence[Encoded],
    injection: Injection | None,
    head: Head,
    *,
    batch_rows: int,
    token_budget: int | None = None,
    on_rows: Callable[[int], None] | None = None,
) -> list[Floats]:
    """The head's outputs [reads, K] of each row."""
    how: dict[str, Any] = {"batch_rows": batch_rows, "token_budget": token_budget}
    return _at_reads(backbone, rows, injection, head, head, on_rows=on_rows, **how)


@inference_mode
def read_states(
    backbone: Backbone,
    rows: Sequence[Encoded],
    injection: Injection | None,
    *,
    batch_rows: int,
) -> list[Floats]:
    """The hidden states [reads, H] of each row that a head would read."""

    def as_they_are(states: torch.Tensor) -> torch.Tensor:
        return states

    return _at_reads(backbone, rows, injection, None, as_they_are, batch_rows=batch_rows)


def _at_reads(
    backbone: Backbone,
    rows: Sequence[Encoded],
    injection: Injection | None,
    head: Head | None,
    made_of: Callable[[torch.Tensor], torch.Tensor],
    *,
    batch_rows: int,
    token_budget: int | None = None,
    on_rows: Callable[[int], None] | None = None,
) -> list[Floats]:
    found: list[Floats] = [np.empty((0, 0))] * len(rows)
    lengths = [row.positions for row in rows]
    batches = ordered_batches(lengths, batch_rows, token_budget)
    with sharing_front(backbone, rows, injection, batches):
        for chosen in batches:
            some = [rows[i] for i in chosen]
            (states,) = read_for_heads(backbone, [HeadRows(some, injection, head)])
            outputs = made_of(states).double().cpu()
            parts = torch.split(outputs, [len(row.at) or 1 for row in some])
            for i, part in zip(chosen, parts, strict=True):
                found[i] = part.numpy()
            if on_rows is not None:
                on_rows(len(chosen))
    return found
