"""Texts as vectors, by any backbone that has a state per token: what a linear model can read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cuecard.evaluation.predict import BATCH_ROWS
from cuecard.lazy import inference_mode, np
from cuecard.tasks.encoding.batching import collate, inside_of, ordered_batches
from cuecard.tasks.encoding.pooling import collate_texts, pooled
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Backbone, Encoded, Record, StopsEarly

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

# The beginning of a text says what it is about; sentence encoders were trained on as much.
_MOST_TOKENS = 128
_SPEC = TaskSpec(kind="embedding", template="{text}", max_length=_MOST_TOKENS)
# How many of its layers a model that predicts words runs for a vector: the middle ones know more of
# a text's meaning than the last ones, which know the next word (Skean et al. 2025, "Layer by
# Layer", arXiv:2502.02013).
_DEPTH = 1 / 2


def has_text_vectors(backbone: Backbone) -> bool:
    """Whether a backbone has a state per token of a text; an encoder-decoder has not."""
    return "decoder" not in backbone.takes


@inference_mode
def text_vectors(backbone: Backbone, texts: Sequence[str]) -> NDArray[np.float64]:
    """[n, H] the mean of one layer's states over a text's first 128 tokens, of unit length.

    As a sentence encoder does it (Reimers and Gurevych 2019, arXiv:1908.10084, section 3), with
    the tokens that an encoder puts around a text counted in. The layer is the last one; of a
    causal model the one in the middle.
    """
    # A text of nothing but space has no token with some tokenizers.
    records = [Record({"text": text.strip() or "."}, None) for text in texts]
    rows = [_SPEC.encode(record, backbone.tokenizer) for record in records]
    found = np.empty((len(rows), backbone.hidden_size))
    for chosen in ordered_batches([len(row.context) for row in rows], BATCH_ROWS):
        found[chosen] = _means(backbone, [rows[i] for i in chosen]).double().cpu().numpy()
    return found


def vector_depth(backbone: Backbone) -> float:
    """The share of a backbone's layers that `text_vectors` runs."""
    if not isinstance(backbone, StopsEarly):
        return 1.0
    return _middle(backbone) / backbone.num_layers


def _middle(backbone: Backbone) -> int:
    return max(1, math.ceil(backbone.num_layers * _DEPTH))


def _means(backbone: Backbone, rows: Sequence[Encoded]) -> Tensor:
    """[n, H] of unit length."""
    if "states" in backbone.reads:
        batch = collate_texts(rows, backbone.tokenizer)
    else:
        every = [(replace(row, at=tuple(range(len(row.context)))), ()) for row in rows]
        batch = collate(every, read="states", inside=inside_of(backbone))
    if isinstance(backbone, StopsEarly):
        mask = batch.attention_mask
        states = backbone.early_states(_middle(backbone), batch.input_ids, mask)
        return pooled(batch, states[mask.bool().to(states.device)].float())
    (reads,) = backbone.read_many([(batch, None)], keep="states")
    return pooled(batch, reads.states())
