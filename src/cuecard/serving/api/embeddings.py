"""`/v1/embeddings`: embeddings of texts."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import partial

from torch import Tensor

from cuecard.engine.protocol import Embedding, Engine
from cuecard.serving.api.inputs import (
    check_positions,
    count_characters,
    encode_record,
    match_fields,
    offload,
)
from cuecard.serving.api.service import Service
from cuecard.serving.http.context import RequestContext
from cuecard.serving.models.catalog import ServedPrompt
from cuecard.serving.protocol.errors import APIError, bad_request
from cuecard.serving.protocol.requests import EmbeddingRequest
from cuecard.serving.protocol.responses import TextsUsage, TextVector, TextVectors
from cuecard.serving.settings import Limits
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Encoded, Record

# The text alone; one that is too long for the backbone is rejected, not truncated.
_PLAIN = TaskSpec(kind="embedding", template="{text}", max_length=1 << 30)


async def embeddings(service: Service, request: EmbeddingRequest, context: RequestContext) -> bytes:
    """The texts' embeddings under one model, in order: a `TextVectors` as JSON.

    Raises:
        APIError: an unknown model or one that makes no embeddings; too many or too long texts.
    """
    context.allow(request.model, service.catalog.backbone)
    engine, texts = service.engine, request.texts
    characters = _check_texts(texts, service.limits)
    with service.catalog.acquire(request.model) as served:
        context.served = service.catalog.backbone if served is None else str(served)
        size = _check_model(service, request, served)
        rows = await offload(characters, lambda: [_row(engine, served, t) for t in texts])
        await context.reserve(sum(len(row.context) for row in rows))
        context.prompt_tokens = sum(len(row.context) for row in rows)
        held = None if served is None else served.held
        vectors = await engine.embed([Embedding(held, row) for row in rows])
        digest = None if held is None else held.digest
        render = partial(_render, request, rows, vectors, digest, context)
        return await offload(len(rows) * size, render)


def _check_texts(texts: Sequence[str], limits: Limits) -> int:
    """Check the texts; their total number of characters."""
    if len(texts) > limits.max_texts:
        raise APIError(
            413,
            "batch_too_large",
            f"{len(texts)} inputs: the maximum is {limits.max_texts}.",
            param="input",
        )
    if not all(texts):
        raise bad_request("An input is empty.", "input", "empty_input")
    return count_characters(texts, limits.max_characters, "input")


def _check_model(service: Service, request: EmbeddingRequest, served: ServedPrompt | None) -> int:
    """Check the model; the dimension of its embeddings."""
    service.check_reads_texts()
    size = service.engine.embedding_size
    if size is None:
        raise bad_request(
            f"The backbone '{service.catalog.backbone}' is not an encoder and has no embeddings.",
            "model",
            "unsupported",
        )
    if served is not None and served.spec.mode != "vector":
        raise bad_request(
            f"The model '{request.model}' is for {served.spec.kind} and has no embeddings.",
            "model",
            "unsupported",
        )
    if request.dimensions not in (None, size):
        raise bad_request(
            f"The embeddings have {size} dimensions and cannot be shortened.", "dimensions"
        )
    return size


def _row(engine: Engine, served: ServedPrompt | None, text: str) -> Encoded:
    if served is None:
        row = _PLAIN.encode(Record({"text": text}, None), engine.tokenizer)
    else:
        row = encode_record(served, match_fields(served, text, None, "input"), engine.tokenizer)
    check_positions(engine, served, row, 0)
    return row


def _render(
    request: EmbeddingRequest,
    rows: Sequence[Encoded],
    vectors: Sequence[Tensor],
    digest: str | None,
    context: RequestContext,
) -> bytes:
    plain = request.encoding_format != "base64"
    data = [
        TextVector(
            object="embedding",
            index=index,
            embedding=vector.tolist() if plain else _base64(vector),
            cut=row.cut,
        )
        for index, (row, vector) in enumerate(zip(rows, vectors, strict=True))
    ]
    tokens = context.prompt_tokens
    answer = TextVectors(
        object="list",
        data=data,
        model=context.served,
        system_fingerprint=digest,
        usage=TextsUsage(prompt_tokens=tokens, total_tokens=tokens),
    )
    return answer.model_dump_json().encode()


def _base64(vector: Tensor) -> str:
    return base64.b64encode(vector.numpy().astype("<f4").tobytes()).decode("ascii")
