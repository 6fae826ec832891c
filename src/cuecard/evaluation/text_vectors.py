"""Texts as vectors, by any backbone that has a state per token: what a linear model can read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cuecard.evaluation.predict import BATCH_ROWS
from cuecard.lazy import inference_mode, lazy_module, np, torch
from cuecard.tasks.batching import collate, inside_of, ordered_batches
from cuecard.tasks.embedding import collate_texts, pooled
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Backbone, Encoded, Record

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

# Imports torch.
layers = lazy_module("cuecard.backbones.recompute")

# The beginning of a text says what it is about; sentence encoders were trained on as much.
_MOST_TOKENS = 128
_SPEC = TaskSpec(kind="embedding", template="{text}", max_length=_MOST_TOKENS)
# How many of its layers a model that predicts words runs for a vector: the middle ones know more of
# a text's meaning than the last ones, which know the next word (Skean et al. 2025, "Layer by
# Layer", arXiv:2502.02013).
_DEPTH = 1 / 3


class _ReachedError(Exception):
    """The layer whose states are wanted has been reached; ends the forward pass."""


def has_text_vectors(backbone: Backbone) -> bool:
    """Whether a backbone has a state per token of a text; an encoder-decoder has not."""
    return backbone.lacks("decoder-tokens") is not None


@inference_mode
def text_vectors(backbone: Backbone, texts: Sequence[str]) -> NDArray[np.float64]:
    """[n, H] the mean of one layer's states over a text's first 128 tokens, of unit length.

    As a sentence encoder does it (Reimers and Gurevych 2019, arXiv:1908.10084, section 3), with
    the tokens that an encoder puts around a text counted in. The layer is the last one; of a
    causal model the one at a third of its depth.
    """
    # A text of nothing but space has no token with some tokenizers.
    records = [Record({"text": text.strip() or "."}, None) for text in texts]
    rows = [_SPEC.encode(record, backbone.tokenizer) for record in records]
    means = _early_means if backbone.causal else _last_means
    found = np.empty((len(rows), backbone.hidden_size))
    for chosen in ordered_batches([len(row.context) for row in rows], BATCH_ROWS):
        vectors = means(backbone, [rows[i] for i in chosen])
        found[chosen] = vectors.double().cpu().numpy()
    return found


def vector_depth(backbone: Backbone) -> float:
    """The share of a backbone's layers that `text_vectors` runs."""
    return _layers(backbone) / backbone.num_layers if backbone.causal else 1.0


def _layers(backbone: Backbone) -> int:
    return max(1, math.ceil(backbone.num_layers * _DEPTH))


def _last_means(backbone: Backbone, rows: Sequence[Encoded]) -> Tensor:
    if backbone.lacks("states") is None:
        batch = collate_texts(rows, backbone.tokenizer)
    else:
        every = [(replace(row, at=tuple(range(len(row.context)))), ()) for row in rows]
        batch = collate(every, read="states", inside=inside_of(backbone))
    (reads,) = backbone.read_many([(batch, None)], states=True)
    return pooled(batch, reads.states())


def _early_means(backbone: Backbone, rows: Sequence[Encoded]) -> Tensor:
    """[n, H] by the first layers alone, of unit length."""
    width = max(len(row.context) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for place, row in enumerate(rows):
        ids[place, : len(row.context)] = torch.tensor(row.context)
        mask[place, : len(row.context)] = 1
    states = _early_states(backbone, ids.to(backbone.device), mask.to(backbone.device))
    kept = mask.to(backbone.device)[..., None]
    means = (states.float() * kept).sum(1) / kept.sum(1)
    return torch.nn.functional.normalize(means, dim=-1)


def _early_states(backbone: Backbone, ids: Tensor, mask: Tensor) -> Tensor:
    """[n, W, H] what comes out of the first layers; the others do not run."""
    count = _layers(backbone)
    seen: list[Tensor] = []

    def keep(module: Any, inputs: Any, output: Any) -> None:
        seen.append(output[0] if isinstance(output, tuple) else output)
        raise _ReachedError

    layer = layers.decoder_layers(backbone.model, backbone.num_layers)[count - 1]
    hook = layer.register_forward_hook(keep)
    try:
        backbone.model(input_ids=ids, attention_mask=mask, use_cache=False)
    except _ReachedError:
        pass
    finally:
        hook.remove()
    backbone.counts["tokens"] += round(ids.numel() * count / backbone.num_layers)
    return seen[0]
