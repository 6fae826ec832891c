"""Processes that die, full disks, writers at the same moment: nothing lost, nothing half there."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore

from cuecard.artifacts import Prompt
from cuecard.errors import RegistryError
from cuecard.registry import PromptPackage, Registry
from cuecard.registry.gc import collect_garbage
from cuecard.registry.registry import MARKER
from cuecard.registry.stores.objects import ObjectStore
from cuecard.registry.verify import verify
from support.registry_processes import change, wrap_changes

SCRIPT = Path(__file__).parents[1] / "support" / "registry_processes.py"


def run(action: str, place: str, *words: object) -> None:
    """Run the script that forks processes: this one has threads, which a fork would lose."""
    command = [sys.executable, str(SCRIPT), action, place, *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr


def check_whole(registry: Registry, first: Prompt, second: Prompt) -> tuple[Any, ...]:
    """Whatever happened, there is only what was published, and all of it; what that is."""
    assert verify(registry).problems == []
    versions = registry.versions("reviews")
    digests = [version.record.digest for version in versions]
    assert digests in ([first.digest], [first.digest, second.digest])
    for version in versions:
        assert registry.read(version).prompt.digest == version.record.digest
    log = registry.log("reviews", "production")
    assert [event.after for event in log] == [1, 2, 1][: len(log)]
    assert registry.resolve("reviews@production").number == log[-1].after
    return (len(versions), len(log), versions[-1].deleted)


def check_goes_on(registry: Registry, prompt: Path) -> None:
    """The work can be done again, to the same end, and nothing unneeded stays."""
    digest = Prompt.load(prompt).digest
    version = registry.push(prompt, "reviews").version
    assert registry.read(version).prompt.digest == digest
    registry.promote(str(version), "production", why="again")
    assert registry.resolve("reviews@production").record.digest == digest
    collect_garbage(registry, grace=0)
    assert verify(registry).problems == []
    assert registry.read("reviews@production").prompt.digest == digest


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["disk", "s3", "gcs", "azure"])
def test_killed_at_every_change(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, prompts: list[Path]
) -> None:
    place = str(tmp_path) if kind == "disk" else f"{request.getfixturevalue(kind)}/killed"
    run("kill", place, *prompts[:2])
    first, second = (Prompt.load(folder) for folder in prompts[:2])
    seen = set()
    registries = []
    for last in count(1):
        registry = Registry(f"{place}/{last}")
        if registry.store.modified(MARKER) is None:
            break
        seen.add(check_whole(registry, first, second))
        registries.append(registry)
    # Each state between two changes was met, from before the push to after the deletion.
    assert seen == {
        (1, 1, False),
        (2, 1, False),
        (2, 2, False),
        (2, 3, False),
        (2, 3, True),
    }
    assert len(registries) > (80 if kind == "disk" else 12)
    for registry in registries[:: 7 if kind == "disk" else 3]:
        check_goes_on(registry, prompts[1])


@pytest.mark.parametrize("kind", ["write", "fsync", "link", "mkdir", "open", "put"])
def test_a_full_disk_at_every_change(
    kind: str, tmp_path: Path, prompts: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = [PromptPackage.read(folder) for folder in prompts[:2]]
    digests = [each.prompt for each in packages]
    failed = 0
    for last in count(1):
        memory = ObjectStore("memory://", MemoryStore())
        registry = Registry(memory if kind == "put" else tmp_path / str(last))
        registry.push(packages[0], "reviews")
        registry.promote("reviews@1", "production")
        with monkeypatch.context() as patch:
            owner: Any = registry.store._store if kind == "put" else os  # type: ignore[attr-defined]
            failing = full_at(last, getattr(owner, kind))
            patch.setattr(owner, kind, failing)
            try:
                change(registry, packages[1])
                told = None
            except RegistryError as error:
                told = str(error)
        if not failing.failed:
            break
        if told is not None:  # else it was the journal's entry: the write itself was done
            failed += 1
            assert told.startswith("cannot read or write the registry")
            assert "No space left" in told
        check_whole(registry, *digests)
        if kind != "put":
            assert registry.store.names("tmp") == []  # nothing is left to fill the disk
        if last % 3 == 1:
            check_goes_on(registry, prompts[1])
    assert failed >= (1 if kind == "mkdir" else 10)


def full_at(last: int, call: Callable[..., Any]) -> Any:
    """The `last`-th call does half of its work and finds the disk full."""
    calls = count(1)

    def failing(*words: Any, **options: Any) -> Any:
        if next(calls) == last:
            failing.failed = True  # type: ignore[attr-defined]
            if call.__name__ == "write":
                call(words[0], bytes(words[1])[: len(words[1]) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return call(*words, **options)

    failing.__name__ = call.__name__
    failing.failed = False  # type: ignore[attr-defined]
    return failing


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["disk", "s3", "gcs", "azure"])
def test_writers_at_once(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, make_prompt: Any
) -> None:
    place = str(tmp_path / "r") if kind == "disk" else f"{request.getfixturevalue(kind)}/at-once"
    folders = [make_prompt(seed) for seed in range(6)]
    run("at-once", place, *folders, *folders[:3])  # three packages twice
    registry = Registry(place)
    versions = registry.versions("reviews")
    assert [version.number for version in versions] == [1, 2, 3, 4, 5, 6]
    pushed = {Prompt.load(folder).digest for folder in folders}
    assert {version.record.digest for version in versions} == pushed
    run("promote", place, *versions)
    log = registry.log("reviews", "production")  # which checks that each move starts at the last
    assert sorted(event.after or 0 for event in log) == [1, 2, 3, 4, 5, 6]
    assert registry.resolve("reviews@production").number == log[-1].after
    assert verify(registry).problems == []
    assert registry.store.names("pending") == []


def test_the_wrapper_sees_changes(disk: Registry, prompts: list[Path]) -> None:
    """The injector is not blind: what dies at its first call dies before anything is there."""
    seen = []

    def note(call: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*words: Any, **options: Any) -> Any:
            seen.append(call.__name__)
            return call(*words, **options)

        return noting

    with pytest.MonkeyPatch.context() as patch:
        for name in ("open", "write", "fsync", "link", "replace", "unlink", "mkdir"):
            patch.setattr(os, name, getattr(os, name))  # put back at the end
        wrap_changes(disk, note)
        disk.push(prompts[0], "reviews")
    assert {"open", "write", "fsync", "link", "unlink", "mkdir"} <= set(seen)
