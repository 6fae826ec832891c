"""What a prompt makes of texts as vectors: the vectors, and which text is found by which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cuecard.errors import ConfigError, DataError
from cuecard.evaluation.loglikelihood import OnRows
from cuecard.evaluation.predict import BATCH_ROWS, check_task
from cuecard.lazy import torch
from cuecard.tasks.encoding.batching import ordered_batches
from cuecard.tasks.encoding.pooling import embed_rows, texts_of
from cuecard.tasks.kinds.embedding import distinct_targets, ranked
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Backbone, Encoded, Injection, Prediction, Record, Slot

if TYPE_CHECKING:
    from torch import Tensor


def embed(
    backbone: Backbone,
    spec: TaskSpec,
    texts: Sequence[str],
    injection: Injection | None = None,
    *,
    slot: Slot = "prefix",
    batch_rows: int = BATCH_ROWS,
    token_budget: int | None = None,
    on_rows: OnRows | None = None,
) -> Tensor:
    """[n, H] float32 vectors of unit length, in the texts' order, on the CPU.

    Args:
        spec: an embedding task, whose template the texts are put in.
        injection: the prompt; None for the encoder as it is.

    Raises:
        ConfigError: another kind of task, or a backbone without hidden states.
        DataError: a single text instead of a list.
        BackboneError: a text that does not fit the backbone.
    """
    check_task(backbone, spec)
    if spec.mode != "vector":
        raise ConfigError(
            "only an embedding task makes vectors of texts",
            where="kind",
            got=spec.kind,
            expected="embedding",
        )
    if isinstance(texts, str):
        raise DataError("not a list of texts", where="texts", got="str", expected="texts in a list")
    (field,) = spec.field_names
    rows = [spec.encode(Record({field: text}, None), backbone.tokenizer, slot) for text in texts]
    return _embed(backbone, rows, injection, batch_rows, token_budget, on_rows)


def pair_vectors(
    backbone: Backbone,
    spec: TaskSpec,
    records: Sequence[Record],
    injection: Injection | None,
    *,
    slot: Slot = "prefix",
    batch_rows: int = BATCH_ROWS,
    token_budget: int | None = None,
    on_rows: OnRows | None = None,
) -> tuple[Tensor, Tensor]:
    """The vectors [n, H] of the records' texts, and of what belongs to them."""
    check_task(backbone, spec)
    rows = [spec.encode(record, backbone.tokenizer, slot) for record in records]
    anchors, positives = zip(*map(texts_of, rows), strict=True)
    found = [
        _embed(backbone, texts, injection, batch_rows, token_budget, count)
        for texts, count in ((anchors, None), (positives, on_rows))
    ]
    return found[0], found[1]


def retrieve(
    backbone: Backbone,
    spec: TaskSpec,
    records: Sequence[Record],
    injection: Injection | None,
    *,
    slot: Slot = "prefix",
    batch_rows: int = BATCH_ROWS,
    token_budget: int | None = None,
    on_rows: OnRows | None = None,
) -> list[Prediction]:
    """Each record's text looked up among the targets of all: the nearest ones with their cosines.

    Raises:
        ConfigError: as `embed`.
    """
    if not records:
        return []
    pairs = pair_vectors(
        backbone,
        spec,
        records,
        injection,
        slot=slot,
        batch_rows=batch_rows,
        token_budget=token_budget,
        on_rows=on_rows,
    )
    return nearest(records, *pairs)


def nearest(records: Sequence[Record], anchors: Tensor, positives: Tensor) -> list[Prediction]:
    """The nearest targets of each record, a text that several records share counted once."""
    first = distinct_targets(records)
    return ranked(list(first), anchors @ positives[list(first.values())].T)


def _embed(
    backbone: Backbone,
    rows: Sequence[Encoded],
    injection: Injection | None,
    batch_rows: int,
    token_budget: int | None,
    on_rows: OnRows | None,
) -> Tensor:
    if not rows:
        return torch.zeros(0, backbone.hidden_size)
    # Equal texts once.
    places: dict[Encoded, int] = {}
    for row in rows:
        places.setdefault(replace(row, cut=0), len(places))
    distinct = list(places)
    found: dict[int, Tensor] = {}
    lengths = [len(row.context) for row in distinct]
    with torch.inference_mode():
        for chosen in ordered_batches(lengths, batch_rows, token_budget):
            vectors = embed_rows(backbone, [distinct[i] for i in chosen], injection).cpu()
            found.update(zip(chosen, vectors, strict=True))
            if on_rows is not None:
                on_rows(len(chosen))
    return torch.stack([found[places[replace(row, cut=0)]] for row in rows])
