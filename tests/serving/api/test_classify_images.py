"""`/v1/classify` on a vision encoder: images as base64, as data URLs and in forms."""

from __future__ import annotations

import asyncio
import gzip
import random
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from cuecard.backbones import image_processor
from cuecard.registry import Registry
from cuecard.serving.http.auth import add_key
from cuecard.serving.settings import Limits
from support.asgi import Reply
from support.serving.app import Running, running
from support.serving.pictures import (
    animation,
    base64_of,
    files,
    form,
    picture_registry,
    right,
    saved,
)
from support.tiny_clip import shared_clip
from support.tiny_vision import LABELS

pytestmark = pytest.mark.anyio
FILES = files(3)
TEXTS = [base64_of(FILES[0]), f"data:image/png;base64,{base64_of(FILES[1])}"]
TEXTS.append("\n".join(base64_of(FILES[2])[at : at + 76] for at in range(0, 9999, 76)).strip())
FUZZED = 900
MODELS = ["drawn@1", "drawn@2", "deep", "scans", "tags", "named"]
BOMB = saved(Pillow.new("1", (20_000, 20_000)))


@pytest.fixture(scope="session")
def seeing() -> Any:
    return shared_clip()


@pytest.fixture(scope="session")
def shown(seeing: Any, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return picture_registry(tmp_path_factory.mktemp("shown"), seeing)


@pytest.fixture
async def gallery(seeing: Any, shown: Registry, tmp_path: Path) -> AsyncIterator[Running]:
    """A server of prompts for images, without keys."""
    async with running(seeing, shown, tmp_path / "cache") as made:
        yield made


async def asked(server: Running, models: Any, given: Any) -> Reply:
    return await server.client.post("/v1/classify", {"model": models, "input": given})


async def sent(
    server: Running, *parts: tuple[str, str | bytes], path: str = "/v1/classify"
) -> Reply:
    body, kind = form(*parts)
    return await server.client.send("POST", path, body, {"content-type": kind})


async def test_every_prompt_answers_for_every_image_as_the_library_does(
    gallery: Running, seeing: Any, shown: Registry
) -> None:
    reply = await asked(gallery, MODELS, TEXTS)
    assert reply.status == 200, reply.body
    rows = reply.json["data"]
    places = [(index, name) for index in range(3) for name in MODELS]
    assert [(row["index"], row["model"]) for row in rows] == places
    versions = ("drawn@1", "drawn@2", "deep@1", "scans@1", "tags@1", "named@1")
    for number, (model, version) in enumerate(zip(MODELS, versions, strict=True)):
        for row, wanted in zip(rows[number::6], right(seeing, shown, version, FILES), strict=True):
            assert (row["version"], row["label"], row["cut"]) == (version, wanted.answer, 0), model
            assert row["probabilities"] == pytest.approx(dict(wanted.probabilities), abs=1e-5)
            assert row["scores"] == pytest.approx(dict(wanted.scores), abs=1e-4)
    for row, (index, name) in zip(rows, places, strict=True):
        alone = (await asked(gallery, name, TEXTS[index])).json["data"][0]
        assert alone["scores"] == pytest.approx(row["scores"], abs=1e-5)
    named = await asked(gallery, "scans", [{"scan": text} for text in TEXTS])
    assert [row["scores"] for row in named.json["data"]] == [row["scores"] for row in rows[3::6]]
    for row in rows:
        held = [label for label, p in row["probabilities"].items() if p > 0.5]
        assert row["labels"] == (held if row["model"] == "tags" else [row["label"]])
    # An image counts as many tokens as it takes places in the model.
    assert reply.json["usage"]["prompt_tokens"] == 18 * seeing.tower.positions
    metrics = (await gallery.client.get("/metrics")).body.decode()
    assert 'cuecard_tokens_total{kind="prompt",model="several"}' in metrics
    card = (await gallery.client.get("/v1/models/drawn")).json
    assert (card["kind"], card["labels"]) == ("image-classification", list(LABELS))
    assert card["fields"] == ["image"] and card["root"] == "drawn@1"


async def test_a_form_is_answered_as_json_is(gallery: Running) -> None:
    wanted = (await asked(gallery, MODELS[:2], TEXTS)).json
    models = [("model", name) for name in MODELS[:2]]
    reply = await sent(gallery, *models, *[("input", content) for content in FILES])
    assert reply.status == 200 and reply.json == wanted
    # Text and files in any order, parameters without effect, compressed.
    body, kind = form(("input", TEXTS[0]), ("user", "ann"), ("input", FILES[1]), *models)
    headers = {"content-type": kind, "content-encoding": "gzip"}
    mixed = await gallery.client.send("POST", "/v1/classify", gzip.compress(body), headers)
    assert mixed.json["data"] == wanted["data"][:4]


async def test_each_image_is_decoded_once_and_not_on_the_event_loop(
    gallery: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, decode = [], image_processor.pixels_of

    def decoded(*given: Any) -> Any:
        threads.append(threading.current_thread().name)
        return decode(*given)

    monkeypatch.setattr(image_processor, "pixels_of", decoded)
    reply = await asked(gallery, MODELS, [*TEXTS, *TEXTS])
    assert reply.status == 200 and len(reply.json["data"]) == 6 * len(MODELS)
    assert len(threads) == 3 and all(name.startswith("cuecard-images") for name in threads)


async def test_after_a_bad_image_no_other_is_decoded(
    gallery: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, decode, bad = [], image_processor.pixels_of, threading.Event()

    def decoded(image: Any, *given: Any) -> Any:
        seen.append(image.content)
        if image.content == BROKEN:
            bad.set()
        else:
            bad.wait(10)
            time.sleep(0.05)  # what is decoded beside the bad one ends after it
        return decode(image, *given)

    monkeypatch.setattr(image_processor, "pixels_of", decoded)
    reply = await asked(gallery, "drawn", [base64_of(each) for each in (BROKEN, *files(12))])
    assert (reply.status, reply.json["error"]["param"]) == (400, "input.0")
    assert len(seen) <= 2


async def test_a_keys_tokens_are_asked_for_before_an_image_is_decoded(
    seeing: Any, shown: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, decode = [], image_processor.pixels_of

    def decoded(*given: Any) -> Any:
        seen.append(given)
        return decode(*given)

    monkeypatch.setattr(image_processor, "pixels_of", decoded)
    keys, positions = tmp_path / "keys.json", seeing.tower.positions
    auth = {"authorization": f"Bearer {add_key(keys, 'ann', tokens_per_minute=3 * positions)}"}
    async with running(seeing, shown, tmp_path / "cache", keys=keys) as server:
        two = {"model": ["drawn", "deep"], "input": TEXTS[0]}
        for status in (200, 429):
            reply = await server.client.post("/v1/classify", two, **auth)
            assert (reply.status, len(seen)) == (status, 1)
        one = {"model": "drawn", "input": TEXTS[0]}
        assert (await server.client.post("/v1/classify", one, **auth)).status == 200


BROKEN = FILES[0][: len(FILES[0]) // 2]
FLOATS = saved(Pillow.new("F", (8, 8)), "TIFF")


@pytest.mark.parametrize(
    ("given", "status", "code", "param", "said"),
    [
        ("a warm film", 400, "invalid_image", "input", "must be an image: base64"),
        ([TEXTS[0], "né"], 400, "invalid_image", "input.1", "must be an image: base64"),
        ([TEXTS[0], TEXTS[0][:-1]], 400, "invalid_image", "input.1", "not base64"),
        ([TEXTS[0], base64_of(b"hello")], 400, "invalid_image", "input.1", "not an image"),
        ([base64_of(BROKEN), TEXTS[0]], 400, "invalid_image", "input.0", "cannot be read"),
        (base64_of(FLOATS), 400, "invalid_image", "input", "floating-point"),
        (base64_of(b"%!PS-Adobe-3.0"), 400, "invalid_image", "input", "a whole image: PNG"),
        ({"image": base64_of(BROKEN)}, 400, "invalid_image", "input.image", "cannot be read"),
        ("", 400, "empty_input", "input", "is empty"),
        ("data:image/png;base64,", 400, "empty_input", "input", "is empty"),
        ("data:image/png,abc", 400, "image_not_fetched", "input", "base64"),
        ("https://example.com/a.png", 400, "image_not_fetched", "input", "none is fetched"),
        ([TEXTS[0], "file:///etc/passwd"], 400, "image_not_fetched", "input.1", "none is fetched"),
        (base64_of(BOMB), 413, "image_too_large", "input", "too many pixels"),
        ({"picture": TEXTS[0]}, 400, "invalid_fields", "input", "exactly the fields image"),
        ([], 400, "invalid_value", "input", "a data URL"),
        ([1], 400, "invalid_value", "input.0", "a data URL"),
    ],
)  # fmt: skip
async def test_what_is_no_image(
    gallery: Running, given: Any, status: int, code: str, param: str, said: str
) -> None:
    good = asyncio.create_task(asked(gallery, "drawn", TEXTS))
    reply = await asked(gallery, "drawn", given)
    error = reply.json["error"]
    assert (reply.status, error["code"]) == (status, code), error
    assert said in error["message"] and error["param"] == param, error
    assert (await good).status == 200
    assert not any("hello" in line or "warm" in line for line in gallery.log.getvalue().split("\n"))


async def test_a_bomb_is_refused_before_it_is_decoded(
    gallery: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    for content in (BOMB, saved(Pillow.new("1", (9_000, 9_000)))):
        reply = await sent(gallery, ("model", "drawn"), ("input", content))
        assert (reply.status, reply.code) == (413, "image_too_large")
        assert "at most 50,000,000 pixels" in reply.json["error"]["message"]


async def test_limits(seeing: Any, shown: Registry, tmp_path: Path) -> None:
    limits = Limits(max_images=2, max_image_bytes=2_000, max_image_pixels=1_000, max_image_frames=3)
    async with running(seeing, shown, tmp_path / "cache", limits=limits) as server:
        for given, code, said in (
            (files(3, "WEBP"), "batch_too_large", "3 images: at most 2"),
            ([b"x" * 3_000], "image_too_large", "expected at most 2,000 bytes"),
            ([saved(Pillow.new("L", (40, 40)))], "image_too_large", "40 x 40 pixels"),
            ([animation(4)], "image_too_large", "more than 3 frames"),
            ([animation(4, "WEBP")], "image_too_large", "more than 3 frames"),
        ):
            text = [base64_of(content) for content in given]
            in_form = [("input", content) for content in given]
            for reply in (
                await asked(server, "drawn", text),
                await sent(server, ("model", "drawn"), *in_form),
            ):
                assert (reply.status, reply.code) == (413, code)
                assert said in reply.json["error"]["message"]
        # What is around an image is no part of its file.
        within = files(1)[0]
        padded = within + bytes(2_000 - len(within))
        wrapped = "\n".join(base64_of(padded)[at : at + 4] for at in range(0, 9999, 4)).strip()
        for text in (wrapped, f"data:image/png;base64,{wrapped}"):
            assert (await asked(server, "drawn", text)).status == 200
        # The same image twice is one.
        twice = [base64_of(content) for content in files(2, "WEBP")] * 2
        assert (await asked(server, ["drawn", "deep"], twice)).status == 200
        assert (await asked(server, "drawn", [twice[0], base64_of(animation(3))])).status == 200


async def test_bodies_may_be_larger_where_images_come_in_them(
    seeing: Any, model: Any, shown: Registry, registry: Registry, tmp_path: Path
) -> None:
    large = saved(Pillow.effect_noise((1_200, 1_200), 90))
    assert 1 << 20 < len(large) < 10 << 20
    parts = ("model", "drawn"), ("input", large)
    async with running(seeing, shown, tmp_path / "one") as server:
        assert (await sent(server, *parts)).status == 200
        assert (await asked(server, "drawn", base64_of(large))).status == 200
    limits = Limits(max_body_bytes=1 << 20)
    async with running(seeing, shown, tmp_path / "two", limits=limits) as server:
        assert (await sent(server, *parts)).code == "request_too_large"
    async with running(model, registry, tmp_path / "three") as server:
        assert (await sent(server, *parts)).code == "request_too_large"


async def test_routes_of_texts_refuse_a_vision_encoder(gallery: Running, seeing: Any) -> None:
    message = {"role": "user", "content": "x"}
    for model in ("drawn", "deep@1", seeing.name):
        for path, body in (
            ("/v1/completions", {"prompt": "x"}),
            ("/v1/completions", {"prompt": "x", "raw": True, "stream": True}),
            ("/v1/chat/completions", {"messages": [message]}),
            ("/v1/responses", {"input": "x"}),
            ("/v1/embeddings", {"input": "x"}),
        ):
            reply = await gallery.client.post(path, {"model": model, **body})
            assert (reply.status, reply.code) == (400, "unsupported"), path
            assert "sees images" in reply.json["error"]["message"]
            assert "/v1/classify" in reply.json["error"]["message"]
    bare = await asked(gallery, seeing.name, TEXTS[0])
    assert (bare.status, bare.code) == (400, "unsupported")


async def test_a_language_model_refuses_images(server: Running) -> None:
    wanted = (await asked(server, "reviews", ["a film", "nice"])).json
    texts = await sent(server, ("model", "reviews"), ("input", "a film"), ("input", "nice"))
    assert texts.status == 200 and texts.json == wanted
    reply = await sent(server, ("model", "reviews"), ("input", "a film"), ("input", FILES[0]))
    assert (reply.status, reply.code) == (400, "unsupported")
    assert reply.json["error"]["param"] == "input.1"
    assert "reads texts" in reply.json["error"]["message"]
    # However it begins, a text is a text there.
    assert (
        await asked(server, "reviews", ["a film", "data:image/ is how it begins"])
    ).status == 200


async def test_forms_that_are_none(gallery: Running) -> None:
    model, file = ("model", "drawn"), ("input", FILES[0])
    body, kind = form(model, file)
    for content, header, code in (
        (body, "multipart/form-data", "invalid_form"),
        (body[:-20], kind, "invalid_form"),
        (body, kind + "x", "invalid_form"),
        (b"", kind, "invalid_form"),
        (b"{}", kind, "invalid_form"),
        (body.replace(b"drawn", b"dr\xffwn"), kind, "invalid_form"),
        (body.replace(b'name="model"', b'nome="model"'), kind, "invalid_form"),
        (form(file)[0], kind, "invalid_value"),
        (form(model)[0], kind, "invalid_value"),
        (form(model, file, ("temperature", "1"))[0], kind, "invalid_value"),
        (form(model, file, ("top_k", "7"))[0], kind, "invalid_value"),
        (form(model, ("input", b""))[0], kind, "empty_input"),
        (form(("model", "nobody"), file)[0], kind, "model_not_found"),
        (form(("model", FILES[0]), file)[0], kind, "invalid_value"),
        (form(model, *[file] * 500)[0], kind, "batch_too_large"),
        (form(model, *[file] * 300)[0], kind, "batch_too_large"),
    ):
        reply = await gallery.client.send("POST", "/v1/classify", content, {"content-type": header})
        assert 400 <= reply.status < 500 and reply.code == code, (code, reply.body)
    other = await sent(gallery, model, ("prompt", "x"), path="/v1/completions")
    assert (other.status, other.code) == (415, "unsupported_media_type")
    assert gallery.lines("failure") == []


def harmed(dice: random.Random, content: bytes) -> bytes:
    """A few bytes changed, cut off or doubled."""
    found = bytearray(content)
    for _ in range(dice.randrange(1, 5)):
        at = dice.randrange(len(found))
        kind = dice.randrange(4)
        if kind == 0:
            found[at : at + 4] = dice.randbytes(4)
        elif kind == 1:
            found[at] = dice.choice(b'\x00\xff\r\n-"=;')
        elif kind == 2:
            found[at:at] = found[at : at + dice.randrange(40)]
        else:
            del found[at : at + dice.choice((1, 4, len(found)))]
        if not found:
            break
    return bytes(found)


async def test_harmed_images_and_forms(gallery: Running) -> None:
    """An answer or one of the 400s, whatever was harmed, and nothing is left behind."""
    dice, statuses = random.Random(20261129), Counter[int]()
    kinds = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM")
    pictures = [files(1, kind)[0] for kind in kinds] + [animation(3), animation(3, "TIFF")]
    encoded = b"\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    for number in range(FUZZED):
        content = pictures[number % len(pictures)]
        body, kind = form(("model", "deep"), ("input", content), ("input", "x"))
        if number % 3 == 0:
            reply = await asked(gallery, "deep", base64_of(harmed(dice, content)))
        elif number % 3 == 1:
            reply = await sent(gallery, ("model", "deep"), ("input", harmed(dice, content)))
        else:
            if number % 2:
                body = body.replace(b"\r\n\r\n", encoded)
            body = harmed(dice, body)
            reply = await gallery.client.send("POST", "/v1/classify", body, {"content-type": kind})
        told = f"request {number}: {reply.status} {reply.body!r}"
        assert reply.status < 500 and reply.whole, told
        if reply.status >= 400:
            assert set(reply.json) == {"error"}, told
        statuses[reply.status] += 1
    assert statuses[200] > FUZZED // 20 and statuses[400] > FUZZED // 20, statuses
    assert gallery.lines("failure") == []


async def test_the_description_of_the_body(gallery: Running) -> None:
    described = (await gallery.client.get("/openapi.json")).json
    body = described["paths"]["/v1/classify"]["post"]["requestBody"]
    assert body["required"] is True
    json, in_form = body["content"]["application/json"], body["content"]["multipart/form-data"]
    assert json["schema"]["required"] == in_form["schema"]["required"] == ["model", "input"]
    files_or_texts = in_form["schema"]["properties"]["input"]["items"]["anyOf"]
    assert {"type": "string", "format": "binary"} in files_or_texts
