from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cuecard.registry import Registry
from cuecard.serving.models.disk_cache import DiskCache
from support.serving.app import running

pytestmark = pytest.mark.anyio


async def test_nothing_and_a_broken_file_are_nothing(tmp_path: Path) -> None:
    cache = DiskCache("s3://bucket/prompts", tmp_path)
    assert cache.load() is None
    cache.save({})
    known = cache.load()
    assert known is not None and known.registry == "s3://bucket/prompts"
    (file,) = (tmp_path / "serving").iterdir()
    file.write_text(file.read_text()[:-2])
    assert cache.load() is None


async def test_two_registries_do_not_meet(model: Any, registry: Registry, tmp_path: Path) -> None:
    async with running(model, registry, tmp_path / "cache"):
        pass
    mine = DiskCache(registry.store.url, tmp_path / "cache").load()
    assert mine is not None and set(mine.names) == {"reviews", "titles", "pairs"}
    assert DiskCache("elsewhere", tmp_path / "cache").load() is None


async def test_it_is_written_only_when_something_changes(
    model: Any, registry: Registry, tmp_path: Path
) -> None:
    async with running(model, registry, tmp_path / "cache") as server:
        (file,) = (tmp_path / "cache" / "serving").iterdir()
        before = file.stat().st_ino
        await server.sync.poll()
        assert file.stat().st_ino == before
        registry.promote("reviews@2", "production")
        await server.sync.poll()
        assert file.stat().st_ino != before


async def test_a_cache_that_cannot_be_written_is_told(
    model: Any, registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    async with running(model, registry, tmp_path / "file") as server:
        ready = (await server.client.get("/readyz")).json
        assert ready["registry"]["cache_problem"]
        reply = await server.client.post("/v1/classify", {"model": "reviews", "input": "x"})
        assert reply.status == 200


async def test_processes_may_share_it(model: Any, registry: Registry, tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    async def once() -> int:
        async with running(model, registry, cache) as server:
            return len(server.catalog.entries)

    assert await asyncio.gather(*(once() for _ in range(4))) == [3] * 4
