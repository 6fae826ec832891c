"""A sequence's tensors: embeddings with the prompt in place, chunks of them, log-likelihoods."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from cuecard.backbones.forward.injected import Injected
from cuecard.backbones.forward.ragged import LayerVectors, PrefillChunk, RaggedRun
from cuecard.engine.local.requests import SequenceState
from cuecard.engine.local.scheduler import ScheduledChunk


def sequence_embeddings(run: RaggedRun, sequence: SequenceState, given: Injected) -> Tensor:
    """[n, H] a sequence's tokens, its prompt among them unless it precedes them all.

    The continuations to score are at the end, each without its last token.
    """
    ids, skip, slot = sequence.ids, sequence.cached, sequence.slot
    if sequence.inline_tokens:
        pieces = [
            run.embed(ids[skip:slot], given, skip),
            given.vectors,
            run.embed(ids[slot:], given, slot),
        ]
    else:
        pieces = [run.embed(ids[skip:], given, skip)]
    pieces += [run.embed(word[:-1], given, len(ids)) for word in sequence.words if len(word) > 1]
    return torch.cat(pieces)


def make_chunk(
    chunk: ScheduledChunk, given: Injected, embeds: Tensor, past: tuple[Tensor, ...]
) -> PrefillChunk:
    """A scheduled chunk with its tensors.

    Args:
        embeds: [n, H] the whole sequence's.
        past: keys and values of all that precedes the chunk.
    """
    sequence, start, end = chunk.sequence, chunk.start, chunk.end
    tails = sequence.tails if chunk.is_last else ()
    first, count = chunk.prompt_tokens, chunk.num_tokens
    reads = tuple(range(count - 1 - sum(tails), count)) if chunk.is_last else ()
    layers, rows = None, embeds[start:end]
    if first:
        rows = torch.cat([given.vectors, rows])
        layers = None if given.layers is None else LayerVectors(given.layers, 0)
    elif given.layers is not None and not sequence.prompt_first:
        layers = _layer_vectors(given.layers, sequence.slot - sequence.cached, start, end)
    return PrefillChunk(rows, past, reads, tails, layers, states=sequence.head is not None)


def log_likelihoods(words: Sequence[Sequence[int]], logits: Tensor) -> list[float]:
    """Each word's log-probability, from the logits [1 + tails, V] of context and tails."""
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
    """Those of the vectors, which begin at token `at`, that are in a chunk."""
    first, last = max(at, start), min(at + layers.shape[1], end)
    if first >= last:
        return None
    return LayerVectors(layers[:, first - at : last - at], first - start)
