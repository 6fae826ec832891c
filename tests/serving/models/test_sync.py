from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cuecard
from cuecard.errors import EngineError, RegistryError
from cuecard.registry import Registry, Signer, read_trusted
from cuecard.registry.records.blobs import blob_key
from cuecard.types import Record
from support.data.pairs import SPEC as PAIRS
from support.data.reviews import SPEC
from support.oracles.serial_engine import SerialEngine
from support.serving.app import MakePrompt, Running, running
from support.signing_keys import save_keys
from support.tiny import tiny_backbone

pytestmark = pytest.mark.anyio


async def version_of(server: Running, model: str) -> str | int:
    """Which version answers, or the status that is no answer."""
    reply = await server.client.post("/v1/classify", {"model": model, "input": "a film"})
    return str(reply.json["data"][0]["version"]) if reply.status == 200 else reply.status


async def test_what_changes_is_served(
    server: Running, registry: Registry, make_prompt: MakePrompt
) -> None:
    assert await version_of(server, "reviews") == "reviews@1"
    assert await version_of(server, "reviews@latest") == "reviews@2"
    registry.push(make_prompt(5), "reviews")
    registry.push(make_prompt(6), "news")
    registry.promote("reviews@3", "production")
    registry.promote("reviews@2", "staging")
    assert await version_of(server, "reviews@3") == 404
    await server.sync.poll()
    assert await version_of(server, "reviews") == "reviews@3"
    assert await version_of(server, "reviews@production") == "reviews@3"
    assert await version_of(server, "reviews@staging") == "reviews@2"
    assert await version_of(server, "news") == "news@1"
    registry.rollback("reviews", "production", why="worse")
    registry.delete("reviews@staging")
    registry.delete("reviews@3")
    await server.sync.poll()
    assert await version_of(server, "reviews") == "reviews@1"
    assert await version_of(server, "reviews@staging") == 404
    assert await version_of(server, "reviews@3") == 404
    changed = server.lines("prompts")[-1]["changed"]
    assert changed == {
        "reviews@3": "gone",
        "reviews@production": "reviews@1",
        "reviews@staging": "gone",
    }


async def test_a_name_alone_is_production_or_the_newest(
    server: Running, registry: Registry
) -> None:
    assert await version_of(server, "reviews") == "reviews@1"
    registry.delete("reviews@production")
    await server.sync.poll()
    assert await version_of(server, "reviews") == "reviews@2"


async def test_a_request_ends_with_the_prompt_it_began_with(
    server: Running, registry: Registry, make_prompt: MakePrompt, model: Any
) -> None:
    body = {"model": "titles", "prompt": "a film", "raw": True, "max_tokens": 8}
    alone = (await server.client.post("/v1/completions", body)).json
    digest = registry.read("titles@1").prompt.digest
    server.engine.pause.clear()
    working = asyncio.create_task(server.client.post("/v1/completions", body))
    while not server.engine.generating:
        await asyncio.sleep(0)
    registry.delete("titles@1")
    await server.sync.poll()
    assert (await server.client.post("/v1/completions", body)).status == 404
    assert digest in server.engine.held
    server.engine.pause.set()
    reply = await working
    assert reply.json["choices"] == alone["choices"]
    assert reply.json["model"] == "titles@1"
    await server.sync.poll()
    assert digest not in server.engine.held


async def test_the_same_content_under_two_names_is_held_until_both_are_gone(
    server: Running, registry: Registry, make_prompt: MakePrompt
) -> None:
    registry.push(make_prompt(2), "twin")
    await server.sync.poll()
    digest = registry.read("twin@1").prompt.digest
    registry.delete("reviews@2")
    await server.sync.poll()
    assert digest in server.engine.held
    registry.delete("twin@1")
    await server.sync.poll()
    assert digest not in server.engine.held


async def test_a_registry_that_goes_away_does_not_stop_answers(
    server: Running, registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "registry").rename(tmp_path / "elsewhere")
    server.clock[0] += 60
    await server.sync.poll()
    assert await version_of(server, "reviews") == "reviews@1"
    ready = await server.client.get("/readyz")
    assert ready.status == 200
    assert ready.json["registry"]["reachable"] is False
    assert ready.json["registry"]["last_seen_seconds_ago"] == 60
    assert "no registry" in ready.json["registry"]["problem"]
    text = (await server.client.get("/metrics")).body.decode()
    assert "cuecard_registry_reachable 0.0" in text
    assert "cuecard_registry_age_seconds 60.0" in text
    (tmp_path / "elsewhere").rename(tmp_path / "registry")
    registry.promote("reviews@2", "production")
    await server.sync.poll()
    assert await version_of(server, "reviews") == "reviews@2"
    assert (await server.client.get("/readyz")).json["registry"]["problem"] is None


async def test_a_start_without_the_registry(model: Any, registry: Registry, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(RegistryError):
        async with running(model, Registry(tmp_path / "nowhere"), cache):
            pass
    async with running(model, registry, cache) as server:
        before = [await version_of(server, name) for name in ("reviews", "reviews@2", "pairs")]
        models = (await server.client.get("/v1/models")).json
    (tmp_path / "registry").rename(tmp_path / "elsewhere")
    async with running(model, registry, cache) as server:
        found = [await version_of(server, name) for name in ("reviews", "reviews@2", "pairs")]
        assert found == before
        assert (await server.client.get("/v1/models")).json == models
        assert (await server.client.get("/readyz")).json["registry"]["reachable"] is False
        (tmp_path / "elsewhere").rename(tmp_path / "registry")
        registry.promote("reviews@2", "production")
        await server.sync.poll()
        assert await version_of(server, "reviews") == "reviews@2"


async def test_a_damaged_cache_is_not_trusted(
    model: Any, registry: Registry, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    async with running(model, registry, cache):
        pass
    content = registry.resolve("reviews@1").record.content
    damaged = cache / "versions" / content / "adapter_model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\0")
    async with running(model, registry, cache) as server:  # the registry still has it
        assert await version_of(server, "reviews@1") == "reviews@1"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\0")
    shutil.rmtree(tmp_path / "registry")
    async with running(model, registry, cache) as server:
        assert await version_of(server, "reviews@1") == 503
        assert await version_of(server, "reviews@2") == "reviews@2"
        assert "reviews@1" in (await server.client.get("/readyz")).json["problems"]


async def test_one_bad_prompt_does_not_stop_the_others(
    server: Running, registry: Registry, make_prompt: MakePrompt, tmp_path: Path
) -> None:
    registry.push(make_prompt(7), "reviews")
    record = registry.resolve("reviews@3").record
    blob = tmp_path / "registry" / blob_key(record.files["adapter_model.safetensors"].sha256)
    whole = blob.read_bytes()
    blob.chmod(0o644)
    blob.write_bytes(whole[:-1] + b"\0")
    registry.promote("reviews@3", "production")
    registry.push(make_prompt(8), "news")
    await server.sync.poll()
    assert await version_of(server, "news") == "news@1"
    assert await version_of(server, "reviews@3") == 503
    # An alias leads where it led until the new version can answer.
    assert await version_of(server, "reviews") == "reviews@1"
    ready = await server.client.get("/readyz")
    assert ready.status == 200
    assert set(ready.json["problems"]) == {"reviews@3", "reviews@production"}
    assert "cuecard_prompts_broken 2.0" in (await server.client.get("/metrics")).body.decode()
    blob.write_bytes(whole)
    await server.sync.poll()
    assert await version_of(server, "reviews@3") == 503  # not tried again at once
    server.clock[0] += 60
    await server.sync.poll()
    assert await version_of(server, "reviews") == "reviews@3"
    assert (await server.client.get("/readyz")).json["problems"] == {}


async def test_a_broken_name_stays_as_it_was(
    server: Running, registry: Registry, tmp_path: Path
) -> None:
    event = tmp_path / "registry" / "prompts" / "reviews" / "aliases" / "production"
    (event / "00000002.json").write_text("hello")
    registry.delete("pairs@1")
    server.clock[0] += 60
    await server.sync.poll()
    assert await version_of(server, "reviews") == "reviews@1"
    assert await version_of(server, "pairs") == 404
    assert set((await server.client.get("/readyz")).json["problems"]) == {"reviews"}


async def test_prompts_of_another_backbone_are_not_served(
    server: Running, registry: Registry, make_prompt: MakePrompt
) -> None:
    other = tiny_backbone(seed=1)
    registry.push(make_prompt(1, backbone=other), "foreign")
    registry.push(make_prompt(9, backbone=other), "reviews")
    await server.sync.poll()
    reply = await server.client.post("/v1/classify", {"model": "foreign", "input": "x"})
    assert (reply.status, reply.code) == (404, "model_not_found")
    assert "another backbone" in reply.json["error"]["message"]
    assert await version_of(server, "reviews@latest") == "reviews@2"
    ready = (await server.client.get("/readyz")).json
    assert set(ready["refused"]) == {"foreign@1", "reviews@3"} and ready["problems"] == {}


async def test_a_prompt_that_scores_otherwise_is_not_served(
    model: Any, registry: Registry, tmp_path: Path
) -> None:
    class Wrong(SerialEngine):
        async def score(self, rows: Any) -> list[list[float]]:
            return [[value - 1.0 for value in found] for found in await super().score(rows)]

    engine = Wrong(model)
    async with running(model, registry, tmp_path / "cache", engine=engine) as server:
        assert await version_of(server, "reviews") == 503
        await server.sync.poll()
        assert engine.held == set()


async def test_a_failing_engine_is_no_fault_of_the_prompts(
    server: Running, registry: Registry, make_prompt: MakePrompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(prompt: Any) -> None:
        raise EngineError("out of memory")

    registry.push(make_prompt(5), "news")
    with monkeypatch.context() as patch:
        patch.setattr(server.engine, "hold", fail)
        await server.sync.poll()
        assert await version_of(server, "reviews") == "reviews@1"
        assert (await server.client.get("/readyz")).json["registry"]["problem"] == "out of memory"
    await server.sync.poll()
    assert await version_of(server, "news") == "news@1"


async def test_a_fault_of_ours_does_not_end_the_following(
    server: Running, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(again: Any) -> None:
        raise ZeroDivisionError

    registry.promote("reviews@2", "production")
    with monkeypatch.context() as patch:
        patch.setattr(server.sync._watch, "poll", fail)
        await server.sync.poll()
    assert server.lines("sync")[0]["error"] == "ZeroDivisionError"
    assert await version_of(server, "reviews") == "reviews@1"
    await server.sync.poll()
    assert await version_of(server, "reviews") == "reviews@2"


def count_calls(store: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every key that is read, listed or asked for from now on."""
    calls: list[str] = []

    def counted(call: Any) -> Any:
        def counting(key: str, *rest: Any) -> Any:
            calls.append(key)
            return call(key, *rest)

        return counting

    for name in ("read", "names", "modified"):
        monkeypatch.setattr(store, name, counted(getattr(store, name)))
    return calls


async def test_polls_grow_with_changes_not_with_prompts(
    server: Running, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.promote("reviews@2", "production")
    calls = count_calls(registry.store, monkeypatch)
    await server.sync.poll()
    changed = [key for key in calls if key.startswith("prompts/")]
    assert changed and {key.split("/")[1] for key in changed} == {"reviews"}
    assert [key for key in changed if key.endswith(".json") and "deleted" not in key] == [
        "prompts/reviews/aliases/production/00000002.json"
    ]
    calls.clear()
    await server.sync.poll()
    assert len(calls) == 2 and not any(key.startswith("prompts/") for key in calls)


async def test_what_is_not_in_the_journal_is_found_within_a_minute(
    server: Running, registry: Registry, tmp_path: Path
) -> None:
    registry.promote("reviews@2", "production")
    journal = tmp_path / "registry" / "journal"
    max(journal.iterdir()).unlink()  # as a writer leaves it that is killed in between
    await server.sync.poll()
    assert await version_of(server, "reviews") == "reviews@1"
    server.clock[0] += 60
    await server.sync.poll()
    assert await version_of(server, "reviews") == "reviews@2"


async def test_a_volume_that_is_half_mounted_is_not_an_empty_registry(
    model: Any, registry: Registry, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    prompts, away = tmp_path / "registry" / "prompts", tmp_path / "away"
    async with running(model, registry, cache) as server:
        prompts.rename(away)
        server.clock[0] += 60
        await server.sync.poll()
        assert await version_of(server, "reviews") == "reviews@1"
        ready = (await server.client.get("/readyz")).json
        assert "lost all of its prompts" in ready["registry"]["problem"]
    async with running(model, registry, cache) as server:  # a restart knows it too
        assert await version_of(server, "reviews") == "reviews@1"
        away.rename(prompts)
        (prompts / "reviews").rename(away)
        server.clock[0] += 60
        await server.sync.poll()
        assert await version_of(server, "reviews") == "reviews@1"
        assert await version_of(server, "titles@1") != 503
        assert set((await server.client.get("/readyz")).json["problems"]) == {"reviews"}
    async with running(model, registry, cache) as server:
        assert await version_of(server, "reviews") == "reviews@1"
        away.rename(prompts / "reviews")
        server.clock[0] += 60
        await server.sync.poll()
        assert (await server.client.get("/readyz")).json["problems"] == {}
        (prompts / "reviews" / "versions" / "00000002.json").rename(away)
        server.clock[0] += 60
        await server.sync.poll()
        assert await version_of(server, "reviews@2") == "reviews@2"
        assert "versions 2" in (await server.client.get("/readyz")).json["problems"]["reviews"]


async def test_another_registry_in_the_same_place_is_another_registry(
    server: Running, registry: Registry, make_prompt: MakePrompt, tmp_path: Path
) -> None:
    (tmp_path / "registry").rename(tmp_path / "old")
    Registry(tmp_path / "registry").push(make_prompt(4), "news")
    await server.sync.poll()
    assert set(server.catalog.entries) == {"news"}


async def test_litter_of_a_desktop_changes_nothing(
    server: Running, registry: Registry, tmp_path: Path
) -> None:
    for folder in ("", "prompts", "prompts/reviews/versions", "prompts/reviews/aliases"):
        (tmp_path / "registry" / folder / ".DS_Store").write_bytes(b"\0")
    server.clock[0] += 60
    await server.sync.poll()
    ready = (await server.client.get("/readyz")).json
    assert ready["registry"]["reachable"] and ready["problems"] == {}
    assert set(server.catalog.entries) == {"reviews", "titles", "pairs"}


async def test_ready_when_the_aliases_are(
    model: Any, registry: Registry, make_prompt: MakePrompt, tmp_path: Path
) -> None:
    for seed in (20, 21, 22):
        registry.push(make_prompt(seed), "reviews")
    async with running(model, registry, tmp_path / "cache") as server:
        # production leads to 1, 5 is the newest
        assert set(server.catalog.entries["reviews"].versions) == {1, 5}
        assert (await server.client.get("/readyz")).json["loading"] == 3
        reply = await server.client.post("/v1/classify", {"model": "reviews@3", "input": "x"})
        assert (reply.status, reply.code) == (503, "model_not_ready")
        assert "still being loaded" in reply.json["error"]["message"]
        task = asyncio.create_task(server.sync.run(60.0))
        async with asyncio.timeout(60):
            while server.catalog.entries["reviews"].loading:
                await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await version_of(server, "reviews@3") == "reviews@3"


async def test_only_what_aliases_point_at(
    model: Any,
    registry: Registry,
    make_prompt: MakePrompt,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for seed in (20, 21):
        registry.push(make_prompt(seed), "reviews")
    registry.promote("reviews@3", "staging")
    calls = count_calls(registry.store, monkeypatch)
    async with running(model, registry, tmp_path / "cache", versions="aliases") as server:
        read = [key for key in calls if key.startswith("prompts/") and "/versions/0" in key]
        assert {key[-13:] for key in read} == {"00000001.json", "00000003.json"}
        assert not any(key.startswith("prompts/titles/versions/0") for key in calls)
        fetched = [key for key in calls if key.startswith("blobs/")]
        assert sorted(fetched) == sorted(  # the files of two versions, each once
            blob_key(file.sha256)
            for reference in ("reviews@1", "reviews@3")
            for file in registry.resolve(reference).record.files.values()
        )
        assert len(server.engine.held) == 2
        assert await version_of(server, "reviews") == "reviews@1"
        assert await version_of(server, "reviews@3") == "reviews@3"
        for model_name, number in (("reviews@2", 2), ("reviews@latest", 4), ("titles", 1)):
            reply = await server.client.post("/v1/classify", {"model": model_name, "input": "x"})
            assert (reply.status, reply.code) == (404, "model_not_found")
            assert f"no alias points at {number}" in reply.json["error"]["message"]
        ready = (await server.client.get("/readyz")).json
        assert (ready["prompts"], ready["loading"], ready["unserved"]) == (2, 0, 4)
        registry.promote("reviews@4", "staging")
        await server.sync.poll()
        assert await version_of(server, "reviews@latest") == "reviews@4"
        assert await version_of(server, "reviews@3") == 404
        assert len(server.engine.held) == 2
    (tmp_path / "registry").rename(tmp_path / "away")
    async with running(model, registry, tmp_path / "cache", versions="aliases") as server:
        assert await version_of(server, "reviews@staging") == "reviews@4"


async def test_a_cache_of_all_versions_serves_those_of_aliases(
    model: Any, registry: Registry, tmp_path: Path
) -> None:
    async with running(model, registry, tmp_path / "cache"):
        pass
    (tmp_path / "registry").rename(tmp_path / "away")
    async with running(model, registry, tmp_path / "cache", versions="aliases") as server:
        assert await version_of(server, "reviews") == "reviews@1"
        assert await version_of(server, "reviews@2") == 404
        assert len(server.engine.held) == 1


async def test_several_versions_are_loaded_at_once(
    model: Any, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start would not end if versions were loaded one after the other."""
    together = threading.Barrier(4)
    begun = note_reads(registry, monkeypatch, lambda: together.wait(timeout=60))
    async with running(model, registry, tmp_path / "cache"):
        assert sorted(begun) == ["pairs@1", "reviews@1", "reviews@2", "titles@1"]


async def test_aliases_are_loaded_first(
    model: Any, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cuecard.serving.models.loader._AT_ONCE", 1)
    registry.promote("titles@1", "production")
    begun = note_reads(registry, monkeypatch)
    async with running(model, registry, tmp_path / "cache"):
        assert sorted(begun[:2]) == ["reviews@1", "titles@1"] and len(begun) == 4


def note_reads(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, first: Callable[[], Any] = lambda: None
) -> list[str]:
    """The versions that are read from now on, in order; each after something else is done."""
    read, begun = registry.read, []

    def reading(version: Any) -> Any:
        begun.append(str(version))
        first()
        return read(version)

    monkeypatch.setattr(registry, "read", reading)
    return begun


async def test_a_failing_engine_keeps_nothing_that_is_not_served(
    server: Running, registry: Registry, make_prompt: MakePrompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, hold = set(server.engine.held), server.engine.hold
    for seed, name in ((40, "first"), (41, "second")):
        registry.push(make_prompt(seed), name)
    bad = registry.read("second@1").prompt.digest

    async def fail(prompt: Any) -> None:
        if prompt.digest == bad:
            raise EngineError("out of memory")
        await hold(prompt)

    with monkeypatch.context() as patch:
        patch.setattr(server.engine, "hold", fail)
        await server.sync.poll()
    assert len(server.engine.held) == len(served) + 1 and "first" not in server.catalog.entries
    for name in ("first", "second"):
        registry.delete(f"{name}@1")
    await server.sync.poll()
    assert server.engine.held == served


async def test_a_prompt_with_the_backbones_name_is_not_served(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.catalog, "backbone", "titles")
    server.clock[0] += 60
    await server.sync.poll()
    assert set(server.catalog.entries) == {"reviews", "pairs"}
    assert "name of the backbone" in (await server.client.get("/readyz")).json["problems"]["titles"]


async def test_only_what_a_trusted_key_has_signed_is_served(
    model: Any, registry: Registry, make_prompt: MakePrompt, tmp_path: Path
) -> None:
    private, public = save_keys(tmp_path, "release")
    signed = make_prompt(30)
    registry.push(signed, "signed", signer=Signer(private))
    cache = tmp_path / "cache"
    async with running(model, registry, cache):  # without the demand, everything is cached
        pass
    trusted = read_trusted([public])
    async with running(model, registry, cache, trusted=trusted) as server:
        assert await version_of(server, "signed") == "signed@1"
        reply = await server.client.post("/v1/classify", {"model": "reviews", "input": "x"})
        assert (reply.status, reply.code) == (404, "model_not_found")
        assert "no trusted key has signed" in reply.json["error"]["message"]
        refused = (await server.client.get("/readyz")).json["refused"]
        assert {"reviews@1", "titles@1"} <= set(refused)
        package = registry.read("reviews@1")
        registry.push(package, "reviews", signer=Signer(private))  # adds the signature
        server.clock[0] += 60
        await server.sync.poll()
        assert await version_of(server, "reviews") == "reviews@1"
    (tmp_path / "registry").rename(tmp_path / "away")
    async with running(model, registry, cache, trusted=trusted) as server:
        assert await version_of(server, "signed") == "signed@1"
        assert await version_of(server, "reviews@2") == 404  # never served under these keys


async def test_it_looks_again_and_again(server: Running, registry: Registry) -> None:
    task = asyncio.create_task(server.sync.run(0.01))
    registry.promote("reviews@2", "production")
    while await version_of(server, "reviews") != "reviews@2":
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_prompts_of_a_masked_backbone(make_prompt: MakePrompt, tmp_path: Path) -> None:
    bert = tiny_backbone("bert")
    cloze = SPEC.model_copy(update={"template": "{text} It was {mask}."})
    registry = Registry(tmp_path / "registry", who="ann@desk")
    registry.push(make_prompt(1, cloze, backbone=bert), "reviews")
    registry.push(make_prompt(2, PAIRS, backbone=bert), "near")
    async with running(bert, registry, tmp_path / "cache") as server:
        (right,) = cuecard.answer(
            bert, registry.read("reviews@1").prompt, [Record({"text": "a film"}, None)]
        )
        reply = await server.client.post("/v1/classify", {"model": "reviews", "input": "a film"})
        assert reply.json["data"][0]["scores"] == pytest.approx(dict(right.scores), abs=1e-4)
        reply = await server.client.post("/v1/embeddings", {"model": "near", "input": "a film"})
        assert (reply.status, reply.json["model"]) == (200, "near@1")
        await server.sync.poll()
        digests = {registry.read(name).prompt.digest for name in ("reviews@1", "near@1")}
        assert server.engine.held == digests
    registry.delete("near@1")
    async with running(bert, registry, tmp_path / "cache") as server:
        reply = await server.client.post("/v1/embeddings", {"model": "near", "input": "a film"})
        assert (reply.status, reply.code) == (404, "model_not_found")
