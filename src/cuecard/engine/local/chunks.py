"""Where a prompt stands in a row, and what is read behind it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from cuecard.backbones.forward.injected import Injected
from cuecard.backbones.forward.ragged import LayerVectors, PrefillChunk, RaggedRun
from cuecard.engine.local.requests import SequenceState


def prompt_alone(given: Injected) -> PrefillChunk:
    """A prompt's vectors, to be run once for their keys and values."""
    layer_vectors = None if given.layers is None else LayerVectors(given.layers, 0)
    return PrefillChunk(given.vectors, layer_vectors=layer_vectors)


def behind(prompt: PrefillChunk, rest: PrefillChunk) -> PrefillChunk:
    """Both as one chunk: what is read of the rest is read with the prompt in front of it."""
    first = len(prompt.embeds)
    return PrefillChunk(
        torch.cat([prompt.embeds, rest.embeds]),
        reads=tuple(first + read for read in rest.reads),
        branches=rest.branches,
        layer_vectors=prompt.layer_vectors,
    )


def lay_out(run: RaggedRun, row: SequenceState, given: Injected) -> Tensor:
    """[n, H] what of a row is to run: from token `skip` on, the prompt in place if it is not kept.

    The continuations that are scored stand at the end, each without its last token.
    """
    ids, skip, slot = row.ids, row.skip, row.slot
    if row.stands_ahead or not len(given.vectors):
        pieces = [run.embed(ids[skip:], given, skip)]
    else:
        pieces = [
            run.embed(ids[skip:slot], given, skip),
            given.vectors,
            run.embed(ids[slot:], given, slot),
        ]
    pieces += [run.embed(word[:-1], given, len(ids)) for word in row.words if len(word) > 1]
    return torch.cat(pieces)


def next_stretch(row: SequenceState, given: Injected, room: int, least: int) -> PrefillChunk | None:
    """As much of a row's body as there is room for, or None for too little.

    What is read stands at the end. Continuations and the token before them stay together.

    Args:
        least: a row is not cut into pieces smaller than this.
    """
    assert row.body is not None
    left, tails = len(row.body) - row.done, row.tails
    trunk = left - sum(tails)
    whole = left <= room or trunk == 1
    count = left if whole else min(room, trunk - 1)
    if not whole and count < min(least, trunk - 1):
        return None
    start, end = row.done, row.done + count
    reads = tuple(range(count - 1 - sum(tails), count)) if whole else ()
    layer_vectors = None
    if given.layers is not None and not row.stands_ahead:
        layer_vectors = _layer_vectors(given.layers, row.slot - row.skip, start, end)
    past = (*row.ahead, *row.own)
    return PrefillChunk(row.body[start:end], past, reads, tails if whole else (), layer_vectors)


def scores_of(words: Sequence[Sequence[int]], logits: Tensor) -> list[float]:
    """Each word's log-probability, from the logits [1 + tails, V] behind context and tails."""
    wide = logits.float()
    logs = wide.logsumexp(-1).double()
    at, start = [], 1
    for word in words:
        at.append([0, *range(start, start + len(word) - 1)])
        start += len(word) - 1
    flat = torch.tensor(list(chain.from_iterable(at)), device=wide.device)
    ids = torch.tensor(list(chain.from_iterable(words)), device=wide.device)
    found = wide[flat, ids].double() - logs[flat]
    return [float(part.sum()) for part in torch.split(found.cpu(), [len(word) for word in words])]


def _layer_vectors(layers: Tensor, at: int, start: int, end: int) -> LayerVectors | None:
    """Those of the vectors, which begin at place `at` of a body, that stand in a chunk of it."""
    first, last = max(at, start), min(at + layers.shape[1], end)
    if first >= last:
        return None
    return LayerVectors(layers[:, first - at : last - at], first - start)
