"""Encoded rows -> batches: what goes together, and the tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from cuecard.errors import ConfigError
from cuecard.lazy import np, torch
from cuecard.types import Backbone, Batch, Encoded, Injection

if TYPE_CHECKING:
    from torch import Tensor

MEGABATCH = 16
"""How many batches are shuffled together before they are grouped by length."""

NO_TARGET = -100


def collate(
    rows: Sequence[tuple[Encoded, Sequence[int]]],
    pad_id: int = 0,
    read: Literal["targets", "next", "all", "states"] = "targets",
    closing: int = 0,
    inside: int = 1,
) -> Batch:
    """Tensors for one forward pass, padded on the right.

    A context with a mask gets as many masks there as the continuation has tokens, and each token is
    read at its mask, all at once (Schick & Schuetze 2021, arXiv:2009.07118, section 3.1, who fill
    in one after the other when they predict, and read all at once, as here, when they train).

    Args:
        rows: each row's encoded record and the continuation to read.
        pad_id: what fills the padding; the mask keeps it from mattering.
        read: "targets" feeds the context and all of the continuation but its last token, and
            reads every token of the continuation; "next" feeds the context alone and reads once,
            right after it or at its mask, whatever the continuation; "all" reads every token of
            the context and what closes it; "states" reads at the tokens that each row names, or
            right after the context where it names none, or at its first token with `inside` 0.
        closing: how many tokens the backbone itself puts after a context.
        inside: what a read of a token's own state adds to its place: 1 where the state at a token
            makes the next one's logits.

    Raises:
        ConfigError: no rows, a row without a token or an image, or "targets" with an empty
            continuation.
    """
    if not rows:
        raise ConfigError("a batch needs rows", where="collate", got=0, expected="one or more")
    inputs: list[tuple[int, ...]] = []
    reads: list[tuple[int, int, int]] = []
    slots: list[list[int]] = []
    contexts: list[int] = []
    for row, (encoded, continuation) in enumerate(rows):
        if not continuation and read == "targets":
            raise ConfigError(
                "a row has nothing to read",
                where=f"row {row} of the batch",
                got="an empty continuation",
                expected="the ids of a label's word or of a target text",
            )
        tokens = tuple(continuation) if read == "targets" else (NO_TARGET,)
        whole, start = _with_masks(encoded, len(tokens))
        if read == "all":
            start, tokens = 0, (NO_TARGET,) * (len(whole) + closing)
        places = [start + step for step in range(len(tokens))]
        if read == "states" and (encoded.at or not inside):
            places = [place + inside for place in encoded.at or (0,)]
            tokens = (NO_TARGET,) * len(places)
        said = tokens[:-1] if encoded.mask is None and read == "targets" else ()
        inputs.append((*whole, *said))
        reads.extend((row, place, token) for place, token in zip(places, tokens, strict=True))
        slots.append(_slots(encoded, len(whole) - len(encoded.context)))
        contexts.append(len(whole))
    width = max(map(len, inputs))
    input_ids = torch.full((len(rows), width), pad_id, dtype=torch.int64)
    mask = torch.zeros((len(rows), width), dtype=torch.int64)
    for row, ids in enumerate(inputs):
        if not ids and not rows[row][0].images:
            raise ConfigError(
                "a row has no tokens", where=f"row {row} of the batch", got=0, expected="a context"
            )
        input_ids[row, : len(ids)] = torch.tensor(ids, dtype=torch.int64)
        mask[row, : len(ids)] = 1
    columns = torch.tensor(reads, dtype=torch.int64).T.contiguous()
    sizes = _sizes([encoded for encoded, _ in rows])
    shown = tuple(encoded.images for encoded, _ in rows)
    images = shown if any(shown) else ()
    first, lengths = (torch.tensor(counts, dtype=torch.int64) for counts in (slots, contexts))
    asked = tuple(encoded.region for encoded, _ in rows)
    regions = asked if any(asked) else ()
    where, at, wanted = columns.unbind()
    return Batch(
        input_ids, mask, first, where, at, wanted, lengths, sizes, images=images, regions=regions
    )


def mask_logits(backbone: Backbone, rows: Sequence[Encoded], injection: Injection | None) -> Tensor:
    """[N, C] float32 a model's mask logits for rows of images, with gradients to the injection."""
    return backbone.read(image_batch(rows), injection).logits()


def image_batch(rows: Sequence[Encoded]) -> Batch:
    """A batch with one read for each image."""
    return collate([(row, ()) for row in rows], read="states", inside=0)


def _sizes(rows: Sequence[Encoded]) -> tuple[int, ...]:
    """How many vectors go to each place of the prompt, the same in all rows."""
    kinds = {(len(row.placement.slots), row.placement.sizes) for row in rows}
    if len(kinds) > 1:
        raise ConfigError(
            "the rows of a batch have different places for the prompt",
            where="collate",
            got=f"{len(kinds)} kinds",
            expected="rows of one template",
        )
    ((_, sizes),) = kinds
    return sizes


def _slots(row: Encoded, added: int) -> list[int]:
    """The row's slots with so many masks added at its mask."""
    moved = -1 if row.mask is None else row.mask
    return [slot + added * (-1 < moved < slot) for slot in row.placement.slots]


def inside_of(backbone: Backbone) -> int:
    """`collate`'s `inside`: 0 for a model that reads at a token, 1 for one that reads after it."""
    return int("next-tokens" in backbone.reads)


def _with_masks(encoded: Encoded, count: int) -> tuple[tuple[int, ...], int]:
    """The context with so many masks for its one, and where reading begins."""
    context, at = encoded.context, encoded.mask
    if at is None:
        return context, len(context)
    return context[:at] + context[at : at + 1] * count + context[at + 1 :], at


def row_lengths(rows: Sequence[Encoded]) -> list[int]:
    """Tokens of each row, context and target together, and the positions of its images."""
    return [row.positions + len(row.target) for row in rows]


def batches_by_length(
    lengths: Sequence[int],
    rows_per_batch: int,
    token_budget: int | None,
    seed: int,
    epoch: int,
) -> list[list[int]]:
    """One epoch's batches for training: random, yet rows of a batch are of similar length.

    All rows are shuffled, grouped by length within stretches of `MEGABATCH` batches, and the
    batches shuffled. A pure function of its arguments; every index comes exactly once.

    Args:
        lengths: each row's tokens.
        rows_per_batch: the most rows in a batch.
        token_budget: the most rows times longest row in a batch; a row longer than that is
            alone. None for no limit.
        seed, epoch: what the order depends on.
    """
    _check(rows_per_batch, token_budget)
    rng = np.random.default_rng((seed, epoch))
    shuffled = rng.permutation(len(lengths)).tolist()
    stretch = rows_per_batch * MEGABATCH
    batches: list[list[int]] = []
    for start in range(0, len(shuffled), stretch):
        group = sorted(shuffled[start : start + stretch], key=lambda index: -lengths[index])
        batches.extend(_cut(group, lengths, rows_per_batch, token_budget))
    return [batches[place] for place in rng.permutation(len(batches)).tolist()]


def ordered_batches(
    lengths: Sequence[int], rows_per_batch: int, token_budget: int | None = None
) -> list[list[int]]:
    """Batches for evaluation: longest first, so that what does not fit fails at once."""
    _check(rows_per_batch, token_budget)
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    return _cut(order, lengths, rows_per_batch, token_budget)


def _cut(
    order: Sequence[int], lengths: Sequence[int], rows_per_batch: int, token_budget: int | None
) -> list[list[int]]:
    """Split an order that goes from long to short, so a batch's first row is its longest."""
    batches: list[list[int]] = []
    for index in order:
        current = batches[-1] if batches else []
        too_many = len(current) >= rows_per_batch
        if current and token_budget is not None:
            too_many |= (len(current) + 1) * lengths[current[0]] > token_budget
        if current and not too_many:
            current.append(index)
        else:
            batches.append([index])
    return batches


def _check(rows_per_batch: int, token_budget: int | None) -> None:
    for name, value in (("rows_per_batch", rows_per_batch), ("token_budget", token_budget)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} must be positive", where=name, got=value, expected="1 up")
