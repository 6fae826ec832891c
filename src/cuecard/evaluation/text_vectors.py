"""Texts as vectors, by any backbone that has a state per token: what a linear model can read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cuecard.evaluation.predict import BATCH_ROWS
from cuecard.lazy import inference_mode, np
from cuecard.tasks.batching import collate, inside_of, ordered_batches
from cuecard.tasks.pooling import collate_texts, pooled
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Backbone, Record

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The beginning of a text says what it is about; sentence encoders were trained on as much.
_MOST_TOKENS = 128
_SPEC = TaskSpec(kind="embedding", template="{text}", max_length=_MOST_TOKENS)


def has_text_vectors(backbone: Backbone) -> bool:
    """Whether a backbone has a state per token of a text; an encoder-decoder has not."""
    return "decoder" not in backbone.takes


@inference_mode
def text_vectors(backbone: Backbone, texts: Sequence[str]) -> NDArray[np.float64]:
    """[n, H] the mean of the last layer's states over a text's first 128 tokens, of unit length.

    As a sentence encoder does it (Reimers and Gurevych 2019, arXiv:1908.10084, section 3), with
    the tokens that an encoder puts around a text counted in.
    """
    # A text of nothing but space has no token with some tokenizers.
    records = [Record({"text": text.strip() or "."}, None) for text in texts]
    rows = [_SPEC.encode(record, backbone.tokenizer) for record in records]
    encodes = "states" in backbone.reads
    found = np.empty((len(rows), backbone.hidden_size))
    for chosen in ordered_batches([len(row.context) for row in rows], BATCH_ROWS):
        some = [rows[i] for i in chosen]
        if encodes:
            batch = collate_texts(some, backbone.tokenizer)
        else:
            every = [(replace(row, at=tuple(range(len(row.context)))), ()) for row in some]
            batch = collate(every, read="states", inside=inside_of(backbone))
        (reads,) = backbone.read_many([(batch, None)], keep="states")
        found[chosen] = pooled(batch, reads.states()).double().cpu().numpy()
    return found
