"""`/v1/segment` on a segmentation model: masks as PNG."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import cuecard
from cuecard.artifacts import Prompt
from cuecard.images import pixels_of
from cuecard.masks import bits_of_runs
from cuecard.registry import Registry
from cuecard.types import Image, InputTokens, Record
from support.serving.app import Running, running
from support.serving.pictures import base64_of, form, saved
from support.serving.requests import noise
from support.tiny_sam import BOTH, SPEC, WIDTH, blobs, tiny_sam

pytestmark = pytest.mark.anyio
RECORDS = blobs(3)
FILES = [saved(pixels_of(record.images[0])) for record in RECORDS]


@pytest.fixture(scope="module")
def seeing() -> Any:
    return tiny_sam()


@pytest.fixture(scope="module")
def shown(seeing: Any, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    folder = tmp_path_factory.mktemp("shown")
    made = Registry(folder / "segments", who="ann@desk")
    for seed, (name, spec) in enumerate((("cells", SPEC), ("nuclei", SPEC), ("pointed", BOTH)), 1):
        prompt = Prompt.create(
            InputTokens(noise(seed, 4, WIDTH)),
            backbone=seeing,
            spec=spec,
            method="prompt-tuning",
            method_config={"length": 4},
            seed=seed,
            slot="prefix",
        )
        made.push(prompt.save(folder / str(seed)), name)
    return made


@pytest.fixture
async def server(seeing: Any, shown: Registry, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(seeing, shown, tmp_path / "cache") as made:
        yield made


def right(backbone: Any, shown: Registry, name: str, record: Record, file: bytes) -> np.ndarray:
    """What the library answers."""
    prompt = shown.read(name).prompt
    fields = {k: v for k, v in record.fields.items() if k in prompt.spec.field_names}
    (found,) = cuecard.answer(backbone, prompt, [Record({**fields, "image": Image(file)}, None)])
    return bits_of_runs(found.answer)


def drawn(row: dict[str, Any]) -> np.ndarray:
    with PIL.Image.open(BytesIO(base64.b64decode(row["mask"]))) as image:
        return np.asarray(image)


async def test_masks_are_the_librarys(server: Running, seeing: Any, shown: Registry) -> None:
    models, inputs = ["cells", "nuclei"], [base64_of(file) for file in FILES]
    reply = await server.client.post("/v1/segment", {"model": models, "input": inputs})
    assert reply.status == 200, reply.body
    rows = reply.json["data"]
    assert [(r["index"], r["version"]) for r in rows] == [
        (index, f"{model}@1") for index in range(3) for model in models
    ]
    for row in rows:
        wanted = right(seeing, shown, row["version"], RECORDS[row["index"]], FILES[row["index"]])
        assert np.array_equal(drawn(row), wanted) and row["area"] == wanted.sum()
    body, kind = form(("model", "cells"), ("input", FILES[0]))
    sent = await server.client.send("POST", "/v1/segment", body, {"content-type": kind})
    assert sent.json["data"][0]["mask"] == rows[0]["mask"]
    assert sent.json["usage"]["prompt_tokens"] == 64

    given = {"image": inputs[0], "points": RECORDS[0].text("points")}
    given["boxes"] = RECORDS[0].text("boxes")
    pointed = await server.client.post("/v1/segment", {"model": "pointed", "input": given})
    wanted = right(seeing, shown, "pointed@1", RECORDS[0], FILES[0])
    assert np.array_equal(drawn(pointed.json["data"][0]), wanted)


async def test_what_is_refused(server: Running) -> None:
    image = base64_of(FILES[0])
    pointed = {"image": image, "points": "[[999, 1]]", "boxes": "[[1, 1, 5, 5]]"}
    for path, body, status, said in (
        ("segment", {"model": "cells", "input": "bm8gaW1hZ2U="}, 400, "'input'"),
        ("segment", {"model": "pointed", "input": image}, 400, "has the fields"),
        ("segment", {"model": "pointed", "input": pointed}, 400, "is not in its image"),
        ("segment", {"model": "none", "input": image}, 404, "none"),
        ("segment", {"model": ["cells"] * 9, "input": [image] * 999}, 413, "at most"),
        ("classify", {"model": "cells", "input": image}, 400, "has no labels"),
        ("completions", {"model": "cells", "prompt": "a text"}, 400, "/v1/segment"),
        ("embeddings", {"model": "cells", "input": "a text"}, 400, "/v1/segment"),
    ):
        reply = await server.client.post(f"/v1/{path}", body)
        assert reply.status == status and said in reply.json["error"]["message"], reply.body
