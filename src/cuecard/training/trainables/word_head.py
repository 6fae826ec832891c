"""A head that starts as what the model says of the labels' words (DART's label tokens).

Zhang et al. (ICLR 2022, arXiv:2108.13161), section 3.2: labels are tokens of their own, which are
trained. Here a label's token is a row of the head, beside the frozen vocabulary, and starts from
the LM head's rows of its word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cuecard.errors import ConfigError
from cuecard.lazy import torch
from cuecard.tasks import TaskSpec, collate
from cuecard.types import Backbone, Head, Record

_ROWS = 4
# The rounding of half-precision logits, beside the largest one.
_CLOSE = 0.02


def check_word_head(backbone: Backbone, spec: TaskSpec) -> None:
    """
    Raises:
        ConfigError: a task without a head or without words for its labels, or a model whose head
            does not read where it says a word.
    """
    if spec.mode != "head" or not spec.task_kind.head_is_optional:
        raise ConfigError(
            "a head can start from words where it stands in place of them",
            where="training.head_start",
            got=f"kind {spec.kind}, head {spec.head}",
            expected="a classification with --head trained or pooled",
        )
    if "next-tokens" not in backbone.reads:
        raise ConfigError(
            "the head reads another state than the one that says a word",
            where="training.head_start",
            got=backbone.name,
            expected="a causal model or an encoder-decoder, or a head that starts from zeros",
        )


def word_head(backbone: Backbone, spec: TaskSpec, records: Sequence[Record]) -> Head:
    """The LM head's rows of the labels' words, [K, H]; of several tokens their mean.

    Args:
        records: a few are run, to see that the model's logits are what these rows give.

    Raises:
        ConfigError: see `check_word_head`; a word without tokens, or logits that are no linear
            function of the state.
    """
    check_word_head(backbone, spec)
    words = spec.with_head("none").continuations(backbone.tokenizer)
    found: Any = backbone.model.get_output_embeddings()
    weight, bias = found.weight.detach().float(), getattr(found, "bias", None)
    places = [torch.tensor(ids, device=weight.device) for ids in words]
    head = Head(
        torch.stack([weight[ids].mean(0) for ids in places]),
        torch.zeros(len(words), device=weight.device)
        if bias is None
        else torch.stack([bias.detach().float()[ids].mean() for ids in places]),
    )
    rows = spec.encode_rows(records[:_ROWS], backbone.tokenizer, "prefix")
    batch = collate([(row, ()) for row in rows], read="states")
    with torch.no_grad():
        reads = backbone.read(batch, None, keep="both")
        logits = reads.logits()
        said = torch.stack([logits[:, ids].mean(1) for ids in places], 1)
        apart = (head(reads.states()) - said).abs().max()
    if float(apart) > _CLOSE * float(logits.abs().max()):
        raise ConfigError(
            "the model's logits are no linear function of the state that a head reads",
            where="training.head_start",
            got=backbone.name,
            expected="a head that starts from zeros",
        )
    return head
