"""`/v1/classify`: label probabilities of many inputs under many prompts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import torch

from cuecard.engine.protocol import Engine, Scoring
from cuecard.serving.api.inputs import (
    check_positions,
    count_characters,
    encode_record,
    match_fields,
    offload,
)
from cuecard.serving.http.context import RequestContext
from cuecard.serving.models.catalog import PromptCatalog, ServedPrompt
from cuecard.serving.protocol.errors import APIError, bad_request, embeddings_only, head_not_served
from cuecard.serving.protocol.requests import ClassifyRequest
from cuecard.serving.protocol.responses import Classification, Classified, TextsUsage
from cuecard.serving.settings import Limits
from cuecard.tasks.predictions import word_predictions
from cuecard.types import Encoded, Prediction


async def classify(
    request: ClassifyRequest,
    engine: Engine,
    catalog: PromptCatalog,
    limits: Limits,
    context: RequestContext,
) -> Classification:
    """Answer every input under every model.

    Raises:
        APIError: an unknown model or one without labels; too many or too long inputs.
    """
    models, inputs = request.models, request.inputs
    if len(models) * len(inputs) > limits.max_texts:
        raise APIError(
            413,
            "batch_too_large",
            f"{len(inputs)} inputs under {len(models)} models: at most {limits.max_texts} pairs.",
            param="input",
        )
    texts = [
        text for each in inputs for text in (each.values() if isinstance(each, dict) else [each])
    ]
    characters = count_characters(texts, limits.max_characters, "input")
    for model in models:
        context.allow(model, catalog.backbone)
    with ExitStack() as stack:
        acquired = [(model, stack.enter_context(catalog.acquire(model))) for model in models]
        prompts = [_check_labels(model, served) for model, served in acquired]
        context.served = ", ".join(map(str, prompts))

        def encode() -> list[Scoring]:
            return [_score_request(served, each, engine) for each in inputs for served in prompts]

        rows = await offload(characters * len(models), encode)
        tokens = sum(len(each.row.context) for each in rows)
        context.reserve(tokens)
        context.prompt_tokens = tokens
        scores = await engine.score(rows)
    data = []
    for place, (row, found) in enumerate(zip(rows, scores, strict=True)):
        index, number = divmod(place, len(models))
        answer = prediction_of(prompts[number], engine, found)
        data.append(
            Classified(
                object="classification",
                index=index,
                model=models[number],
                version=str(prompts[number]),
                digest=prompts[number].held.digest,
                label=answer.answer,
                probabilities=dict(answer.probabilities),
                scores=dict(answer.scores),
                cut=row.row.cut,
            )
        )
    usage = TextsUsage(prompt_tokens=tokens, total_tokens=tokens)
    return Classification(object="list", data=data, usage=usage)


def score_labels(served: ServedPrompt, row: Encoded, engine: Engine) -> Scoring:
    """The engine's request for the labels' scores.

    Raises:
        APIError: the row is too long for the backbone.
    """
    if served.spec.mode == "head":
        check_positions(engine, served, row, 0)
        return Scoring(served.held, row, head=served.prompt.head())
    words = served.spec.label_words(engine.tokenizer)
    check_positions(engine, served, row, words.longest)
    return Scoring(served.held, row, words.asked)


def prediction_of(served: ServedPrompt, engine: Engine, scores: Sequence[float]) -> Prediction:
    """Labels with probabilities from the engine's scores, calibrated by the saved prior."""
    spec, prior = served.spec, served.prompt.manifest.prior
    if spec.mode == "head":
        return spec.task_kind.answers(spec, np.asarray([scores], dtype=np.float64), prior)[0]
    return word_predictions(
        spec.label_words(engine.tokenizer),
        torch.tensor([scores], dtype=torch.float64),
        spec.labels,
        normalize=spec.normalize,
        prior=prior,
    )[0]


def _score_request(served: ServedPrompt, given: str | dict[str, str], engine: Engine) -> Scoring:
    text, fields = (None, given) if isinstance(given, dict) else (given, None)
    row = encode_record(served, match_fields(served, text, fields, "input"), engine.tokenizer)
    return score_labels(served, row, engine)


def _check_labels(model: str, served: ServedPrompt | None) -> ServedPrompt:
    if served is not None and served.spec.mode == "vector":
        raise embeddings_only(model)
    if served is not None and served.has_unserved_head:
        raise head_not_served(model)
    if served is None or not served.has_labels:
        raise bad_request(f"The model '{model}' has no labels.", "model", "unsupported")
    return served
