"""`/v1/classify`: label probabilities of many inputs under many prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from cuecard.engine.protocol import Scoring
from cuecard.serving.api.images import Sent
from cuecard.serving.api.inputs import (
    count_characters,
    encode_record,
    match_fields,
    offload,
)
from cuecard.serving.api.labels import prediction_of, score_labels
from cuecard.serving.api.service import Service
from cuecard.serving.http.context import RequestContext
from cuecard.serving.models.catalog import ServedPrompt
from cuecard.serving.protocol.errors import APIError, bad_request, embeddings_only, head_not_served
from cuecard.serving.protocol.requests import ClassifyForm, ClassifyRequest
from cuecard.serving.protocol.responses import Classification, Classified, TextsUsage
from cuecard.types import Value

Input = Sent | dict[str, str]


async def classify(
    service: Service, request: ClassifyRequest | ClassifyForm, context: RequestContext
) -> Classification:
    """Answer every input under every model.

    Raises:
        APIError: an unknown model or one without labels; too many or too long inputs; an image that
            cannot be read; texts for a vision encoder, or images for a language model.
    """
    engine, catalog = service.engine, service.catalog
    models, inputs = request.models, request.inputs
    check_pairs(models, inputs, service.limits.max_texts)
    for model in models:
        context.allow(model, catalog.backbone)
    with ExitStack() as stack:
        acquired = [(model, stack.enter_context(catalog.acquire(model))) for model in models]
        prompts = [_check_labels(model, served) for model, served in acquired]
        context.served = ", ".join(map(str, prompts))
        rows = await _rows(service, inputs, prompts, context)
        tokens = sum(each.row.positions for each in rows)
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
                labels=_labels(prompts[number], answer.answer),
                probabilities=dict(answer.probabilities),
                scores=dict(answer.scores),
                cut=row.row.cut,
            )
        )
    usage = TextsUsage(prompt_tokens=tokens, total_tokens=tokens)
    return Classification(object="list", data=data, usage=usage)


async def _rows(
    service: Service,
    inputs: Sequence[Input],
    prompts: Sequence[ServedPrompt],
    context: RequestContext,
) -> list[Scoring]:
    """A row per input and prompt, the inputs in order; their tokens are reserved."""
    engine = service.engine
    asked = [(served, fields_of(served, each)) for each in inputs for served in prompts]
    places = places_of(inputs)
    values: Mapping[Sent, Value]
    if engine.images is None:
        values = _texts(service, places)
        characters = sum(map(len, places)) * len(prompts)
    else:
        check_count(places, service.limits.max_images)
        # What they cost is known before they are decoded, which is most of the work.
        await context.reserve(engine.images.image_positions * len(asked))
        values, characters = await service.image_reader.read(places), 0

    def encode() -> list[Scoring]:
        rows = []
        for served, fields in asked:
            # What a template may lack is not among the values.
            known = {name: values.get(sent, "") for name, sent in fields.items()}
            row = encode_record(served, known, engine.tokenizer)
            rows.append(score_labels(served, row, engine))
        return rows

    rows = await offload(characters, encode)
    if engine.images is None:
        await context.reserve(sum(each.row.positions for each in rows))
    return rows


def _texts(service: Service, places: Mapping[Sent, str]) -> dict[Sent, str]:
    for sent, place in places.items():
        if isinstance(sent, bytes):
            raise bad_request(
                f"'{place}' is an image, and '{service.catalog.backbone}' reads texts.",
                place,
                "unsupported",
            )
    texts = [sent for sent in places if isinstance(sent, str)]
    count_characters(texts, service.limits.max_characters, "input")
    return {text: text for text in texts}


def check_pairs(models: Sequence[str], inputs: Sequence[Input], most: int) -> None:
    """
    Raises:
        APIError: 413, more inputs times models than so many.
    """
    if len(models) * len(inputs) > most:
        raise APIError(
            413,
            "batch_too_large",
            f"{len(inputs)} inputs under {len(models)} models: at most {most} pairs.",
            param="input",
        )


def check_count(images: Mapping[Sent, str], most: int) -> None:
    if len(images) > most:
        raise APIError(
            413, "batch_too_large", f"{len(images)} images: at most {most}.", param="input"
        )


def places_of(inputs: Sequence[Input]) -> dict[Sent, str]:
    """Each of the inputs' values, and where it first stands in the request."""
    places: dict[Sent, str] = {}
    for index, given in enumerate(inputs):
        place = "input" if len(inputs) == 1 else f"input.{index}"
        if isinstance(given, dict):
            for name, value in given.items():
                places.setdefault(value, f"{place}.{name}")
        else:
            places.setdefault(given, place)
    return places


def fields_of(served: ServedPrompt, given: Input) -> dict[str, Sent]:
    """An input's values by the template's fields."""
    if isinstance(given, dict):
        return match_fields(served, None, given, "input")
    return match_fields(served, given, None, "input")


def _labels(served: ServedPrompt, answer: str) -> list[str]:
    """The labels of an answer: one, or any number of them."""
    return served.spec.task_kind.labels_of(served.spec, answer)


def _check_labels(model: str, served: ServedPrompt | None) -> ServedPrompt:
    if served is not None and served.spec.mode == "vector":
        raise embeddings_only(model)
    if served is not None and served.has_other_head and not served.scores_labels:
        raise head_not_served(model)
    if served is None or not served.scores_labels:
        raise bad_request(f"The model '{model}' has no labels.", "model", "unsupported")
    return served
