"""Images under many prompts at once: each answer is the one got alone, and each image's patches are
embedded once."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from cuecard.engine.protocol import Embedding, Held, Scoring
from cuecard.errors import BackboneError, ConfigError, DataError
from cuecard.evaluation.heads import head_outputs
from cuecard.tasks.encoding.batching import mask_logits
from cuecard.tasks.encoding.pooling import embed_rows
from cuecard.types import Encoded, Head, Image, InputTokens, LayerTokens
from support.serving.requests import noise, serving
from support.tiny import tiny_backbone
from support.tiny_sam import BOTH, blobs, tiny_sam
from support.tiny_sam import SPEC as PART
from support.tiny_sam import WIDTH as TOKEN
from support.tiny_vision import LAYERS, SPEC, VISION, WIDTH, pictures, shared_vision, tiny_vision

TOLERANCE = 1e-4
HEAD = Head(noise(10, 2, WIDTH), noise(20, 2))


@dataclass(frozen=True)
class Case:
    """An image under a prompt, and what is got for it alone."""

    asked: Scoring
    alone: list[float]


def held(seed: int, length: int, *, deep: bool = False) -> Held:
    """A prompt of vectors at the first layer's input, or at every layer's."""
    layers = LayerTokens(noise(seed, LAYERS, length, WIDTH))
    shallow = InputTokens(noise(seed, length, WIDTH))
    return Held(f"prompt-{seed}", layers if deep else shallow)


def rows_of(backbone: Any, count: int = 4) -> list[Encoded]:
    return SPEC.encode_rows(pictures(count), backbone.tokenizer, "prefix")


def scorings(backbone: Any, prompts: list[Held | None], count: int = 4) -> list[Scoring]:
    return [
        Scoring(prompt, row, head=HEAD) for row in rows_of(backbone, count) for prompt in prompts
    ]


def alone(backbone: Any, asked: Scoring) -> list[float]:
    injection = None if asked.prompt is None else asked.prompt.injection
    (found,) = head_outputs(backbone, [asked.row], injection, HEAD, batch_rows=1)
    return [float(value) for value in found[-1]]


def embedded(backbone: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images' patches are embedded, call by call, from now on."""
    seen: list[int] = []
    tower, embed = backbone.tower, backbone.tower.embed

    def counted(pixels: torch.Tensor) -> Any:
        seen.append(len(pixels))
        return embed(pixels)

    monkeypatch.setattr(tower, "embed", counted)
    return seen


@pytest.mark.parametrize("kind", VISION)
def test_one_call_with_every_prompt(kind: str) -> None:
    backbone = shared_vision(kind)
    prompts = [
        None,
        held(1, 4),
        held(2, 4),
        held(3, 2),
        held(4, 4, deep=True),
        held(5, 1, deep=True),
    ]
    cases = [Case(each, alone(backbone, each)) for each in scorings(backbone, prompts)]
    assert len({round(case.alone[0], 2) for case in cases}) > len(cases) // 2  # prompts are heard
    random.Random(0).shuffle(cases)
    ready = [
        replace(case.asked, row=replace(case.asked.row, images=(prepared,)))
        for case in cases[:5]
        for prepared in (backbone.processor.prepare(case.asked.row.images[0]),)
    ]

    async def ask() -> Any:
        async with serving(tiny_vision(kind)) as engine:
            found = await engine.score([case.asked for case in cases])
            return [*found, *await engine.score(ready)]

    found = asyncio.run(ask())
    for case, numbers in zip([*cases, *cases[:5]], found, strict=True):
        assert numbers == pytest.approx(case.alone, abs=TOLERANCE), case.asked


@pytest.mark.parametrize(("caching", "again"), [(True, []), (False, [4])])
def test_prompts_share_a_pass_and_an_image_is_embedded_once(
    monkeypatch: pytest.MonkeyPatch, caching: bool, again: list[int]
) -> None:
    backbone = tiny_vision()
    seen = embedded(backbone, monkeypatch)
    first = scorings(backbone, [held(1, 4), held(2, 4), held(3, 4)])
    second = scorings(backbone, [held(4, 4)])

    async def ask() -> None:
        async with serving(backbone, prefix_caching=caching) as engine:
            backbone.reset_counts()
            await engine.score(first)
            assert (backbone.counts["calls"], seen) == (1, [4])
            assert engine.stats()["passes"] == 1 and engine.stats()["rows_scored"] == 12
            await engine.score(second)
            assert (backbone.counts["calls"], seen) == (2, [4, *again])

    asyncio.run(ask())


def test_what_is_kept_of_images_is_the_latest(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny_vision()
    asked = [Scoring(None, row, head=HEAD) for row in rows_of(backbone, 3)]
    size = 10 * WIDTH * 4
    seen = embedded(backbone, monkeypatch)

    async def ask() -> None:
        async with serving(backbone, cache_bytes=2 * size) as engine:
            for number in (0, 1, 0, 2, 0, 1):
                await engine.score([asked[number]])
                assert backbone.kept.nbytes <= 2 * size

    asyncio.run(ask())
    assert len(seen) == 4  # 0, 1, 2 in place of 1, and 1 again


def test_an_image_that_cannot_be_read_fails_alone() -> None:
    backbone = tiny_vision()
    good = scorings(backbone, [held(1, 4)])
    bad = replace(good[0], row=replace(good[0].row, images=(Image(b"no picture"),)))

    async def ask() -> Any:
        async with serving(backbone) as engine:
            asked = [good[:2], [bad], [good[2], bad], good[3:]]
            return await asyncio.gather(*map(engine.score, asked), return_exceptions=True)

    first, failed, mixed, last = asyncio.run(ask())
    assert isinstance(failed, DataError) and isinstance(mixed, DataError)
    reference = shared_vision()
    for asked, numbers in zip([*good[:2], good[3]], [*first, *last], strict=True):
        assert numbers == pytest.approx(alone(reference, asked), abs=TOLERANCE)


def test_vectors_of_images() -> None:
    backbone = shared_vision("clip")
    rows, prompt = rows_of(backbone), held(1, 4)

    async def ask() -> Any:
        async with serving(tiny_vision("clip")) as engine:
            return await engine.embed([Embedding(prompt, row) for row in rows])

    with torch.inference_mode():
        wanted = embed_rows(backbone, rows, prompt.injection)
    torch.testing.assert_close(torch.stack(asyncio.run(ask())), wanted, atol=TOLERANCE, rtol=0)


def test_texts_and_images_are_not_mixed_up() -> None:
    seeing, reading = tiny_vision(), tiny_backbone()
    image = scorings(seeing, [None], 1)[0]
    text = Scoring(None, Encoded((5, 6), ()), ((7,),))
    words = replace(image, words=((7,),), head=None)

    async def ask(backbone: Any, asked: Scoring) -> None:
        async with serving(backbone) as engine:
            await engine.score([asked])

    with pytest.raises(ConfigError, match="cannot read a row"):
        asyncio.run(ask(seeing, text))
    with pytest.raises(ConfigError, match="cannot read a row"):
        asyncio.run(ask(reading, image))
    with pytest.raises(BackboneError, match="no logits"):
        asyncio.run(ask(seeing, words))


def test_parts_of_images_under_every_prompt_in_one_call() -> None:
    """Each mask is the one got alone; an image is encoded once, and no longer than it is kept."""
    backbone = tiny_sam()
    encoded: list[int] = []
    encoder = backbone.model.vision_encoder
    encoder.register_forward_hook(lambda _, args, output: encoded.append(len(output[0])))
    prompts = [Held(f"prompt-{seed}", InputTokens(noise(seed, 4, TOKEN))) for seed in (1, 2)]
    records, tokenizer = blobs(3), backbone.tokenizer
    rows = [spec.encode(record, tokenizer) for spec in (PART, BOTH) for record in records]
    asked = [Embedding(prompt, row) for row in rows for prompt in (*prompts, None)]

    async def ask() -> list[torch.Tensor]:
        async with serving(backbone, cache_bytes=1 << 20) as engine:
            with pytest.raises(ConfigError, match="has no embeddings"):
                await engine.embed(asked)
            return await engine.segment(asked)

    found = asyncio.run(ask())
    assert encoded == [1, 1, 1]
    # At most 16 rows a step: 7 tokens or 4 or, of a point or a box, 3 or 2.
    assert backbone.counts["calls"] <= 8
    for one, mask in zip(asked, found, strict=True):
        injection = None if one.prompt is None else one.prompt.injection
        with torch.no_grad():
            wanted = mask_logits(backbone, [one.row], injection)[0]
        torch.testing.assert_close(mask, wanted, atol=TOLERANCE, rtol=TOLERANCE)

    async def elsewhere() -> None:
        async with serving(shared_vision()) as engine:
            await engine.segment([Embedding(None, rows_of(shared_vision(), 1)[0])])

    with pytest.raises(ConfigError, match="finds no parts of images"):
        asyncio.run(elsewhere())
