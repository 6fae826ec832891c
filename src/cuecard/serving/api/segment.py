"""`/v1/segment`: the masks of parts of images, under many prompts."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from torch import Tensor

from cuecard.engine.protocol import Embedding, Segments
from cuecard.masks import bits_of_runs, box_of, png_of
from cuecard.serving.api.classify import Input, check_count, check_pairs, fields_of, places_of
from cuecard.serving.api.images import Sent
from cuecard.serving.api.inputs import check_positions, encode_record
from cuecard.serving.api.service import Service
from cuecard.serving.http.context import RequestContext
from cuecard.serving.models.catalog import ServedPrompt
from cuecard.serving.protocol.errors import bad_request
from cuecard.serving.protocol.requests import ClassifyForm, ClassifyRequest
from cuecard.serving.protocol.responses import Segmentation, Segmented, TextsUsage
from cuecard.tasks.kinds.image_segmentation import BOXES, POINTS
from cuecard.types import Image

Asked = tuple[ServedPrompt, dict[str, Sent]]
"""A prompt, and an input's values by the fields of its template."""


async def segment(
    service: Service, request: ClassifyRequest | ClassifyForm, context: RequestContext
) -> Segmentation:
    """Find a part of every image under every model.

    Raises:
        APIError: an unknown model or one that finds no parts; too many images, or one that cannot
            be read; points or boxes that are not in their image.
    """
    catalog, models, inputs = service.catalog, request.models, request.inputs
    engine = service.engine
    check_pairs(models, inputs, service.limits.max_texts)
    for model in models:
        context.allow(model, catalog.backbone)
    with ExitStack() as stack:
        acquired = [(model, stack.enter_context(catalog.acquire(model))) for model in models]
        prompts = [_check_masks(model, served) for model, served in acquired]
        assert isinstance(engine, Segments)  # or no such prompt would be served
        context.served = ", ".join(map(str, prompts))
        asked = [(served, fields_of(served, each)) for each in inputs for served in prompts]
        rows = await _rows(service, inputs, asked, context)
        found = await engine.segment(rows)
        drawn = zip(asked, rows, found, strict=True)
        masks = await asyncio.to_thread(lambda: [_mask(a[0], r, logits) for a, r, logits in drawn])
    data = []
    for place, (mask, area, box) in enumerate(masks):
        index, number = divmod(place, len(models))
        data.append(
            Segmented(
                object="segmentation",
                index=index,
                model=models[number],
                version=str(prompts[number]),
                digest=prompts[number].held.digest,
                mask=mask,
                area=area,
                box=box,
            )
        )
    tokens = context.prompt_tokens
    usage = TextsUsage(prompt_tokens=tokens, total_tokens=tokens)
    return Segmentation(object="list", data=data, usage=usage)


async def _rows(
    service: Service, inputs: Sequence[Input], asked: Sequence[Asked], context: RequestContext
) -> list[Embedding]:
    """A row per input and prompt; what they cost is reserved before images are decoded."""
    engine, places = service.engine, _places(inputs, asked)
    assert engine.images is not None
    check_count(places, service.limits.max_images)
    tokens = engine.images.image_positions * len(asked)
    await context.reserve(tokens)
    context.prompt_tokens = tokens
    images = await service.image_reader.read(places)
    rows = []
    for served, fields in asked:
        values = {name: _value(name, sent, images) for name, sent in fields.items()}
        row = encode_record(served, values, engine.tokenizer)
        check_positions(engine, served, row, 0)
        rows.append(Embedding(served.held, row))
    return rows


def _value(name: str, sent: Sent, images: Mapping[Sent, Image]) -> Image | str:
    return str(sent) if name in (POINTS, BOXES) else images[sent]


def _places(inputs: Sequence[Input], asked: Sequence[Asked]) -> dict[Sent, str]:
    """Each image, and where it first is in the request."""
    images = {
        sent for _, fields in asked for name, sent in fields.items() if name not in (POINTS, BOXES)
    }
    return {sent: place for sent, place in places_of(inputs).items() if sent in images}


def _mask(
    served: ServedPrompt, row: Embedding, logits: Tensor
) -> tuple[str, int, tuple[int, int, int, int] | None]:
    """A mask as PNG in base64, its area and the box around it."""
    (found,) = served.spec.task_kind.mask_answers(served.spec, [row.row], logits[None])
    bits = bits_of_runs(found.answer)
    return base64.b64encode(png_of(bits)).decode("ascii"), int(bits.sum()), box_of(bits)


def _check_masks(model: str, served: ServedPrompt | None) -> ServedPrompt:
    if served is None or served.spec.mode != "pixels":
        raise bad_request(f"The model '{model}' finds no parts of images.", "model", "unsupported")
    return served
