"""Where a registry can be, and stores that do not keep to what it stands on."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pytest

from cuecard.errors import RegistryError
from cuecard.registry import Registry
from cuecard.registry.gc import parse_duration
from cuecard.registry.stores import objects
from cuecard.registry.stores.local import LocalStore
from cuecard.registry.stores.objects import ObjectStore
from cuecard.registry.stores.store import open_store


class Altered:
    """A file system with another `pipe_file`."""

    def __init__(self, pipe_file: Any) -> None:
        self._system = fsspec.filesystem("memory")
        self.pipe_file = pipe_file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._system, name)


def test_a_store_that_overwrites_is_refused(prompts: list[Path]) -> None:
    """As servers do that speak S3 and pass over If-None-Match."""
    memory = fsspec.filesystem("memory")

    def careless(path: str, content: bytes, mode: str = "overwrite") -> None:
        memory.pipe_file(path, content)

    root = f"/{uuid4().hex}"
    registry = Registry(ObjectStore(f"memory:/{root}", Altered(careless), root))
    for _ in range(2):  # new, and with a marker there
        with pytest.raises(RegistryError, match="overwrites objects"):
            registry.push(prompts[0], "reviews")
    assert registry.store.names("prompts") == []


def test_a_put_that_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer was lost, or the store was busy: the object is ours all the same."""
    memory = fsspec.filesystem("memory")
    calls: list[str] = []

    def flaky(path: str, content: bytes, mode: str = "overwrite") -> None:
        calls.append(mode)
        if len(calls) == 1:
            raise OSError(errno.EBUSY, "a conflicting conditional operation")
        memory.pipe_file(path, content, mode=mode)
        if len(calls) == 2:
            memory.pipe_file(path, content, mode=mode)  # again: FileExistsError

    monkeypatch.setattr(objects, "_PAUSES", (0.0, 0.0))
    root = f"/{uuid4().hex}"
    store = ObjectStore(f"memory:/{root}", Altered(flaky), root)
    assert store.create("a", b"mine") is True
    assert store.create("a", b"other") is False
    assert store.read("a", 10) == b"mine" and calls == ["create"] * 3


def test_other_failures_are_told() -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise PermissionError("no")

    store = ObjectStore("memory://x", Altered(broken), "/x")
    with pytest.raises(RegistryError, match="cannot read or write the registry") as refused:
        store.create("a", b"")
    assert "PermissionError" in str(refused.value.got)


def test_places(tmp_path: Path) -> None:
    assert open_store(f"file://{tmp_path}").url == open_store(tmp_path).url == str(tmp_path)
    assert open_store("memory://a/b/").url == "memory://a/b"
    with pytest.raises(RegistryError, match="an unknown kind of registry"):
        open_store("nowhere://a")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(RegistryError, match="not installed") as refused:
        open_store("s3://bucket/prompts")
    assert refused.value.hint == "pip install 'cuecard[s3]'"


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    store = LocalStore(tmp_path / "registry")
    store.create("a/b", b"content")
    (tmp_path / "registry" / "a" / "link").symlink_to(outside / "secret")
    (tmp_path / "registry" / "out").symlink_to(outside)
    with pytest.raises(RegistryError, match="links are not followed"):
        store.read("a/link", 100)
    for act in (lambda: store.read("out/secret", 100), lambda: store.create("out/x", b"")):
        with pytest.raises(RegistryError, match="leads out of the registry"):
            act()
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]
    assert store.read("a/none", 1) is None and store.read("a/b/c", 1) is None
    with pytest.raises(RegistryError, match="too large"):
        store.read("a/b", 3)


def test_a_folder_that_is_a_file(tmp_path: Path, prompts: list[Path]) -> None:
    (tmp_path / "registry").write_text("")
    with pytest.raises(RegistryError, match="cannot read or write the registry"):
        Registry(tmp_path / "registry").push(prompts[0], "reviews")


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("30m", 1800), ("12h", 43200), ("7d", 604800)]
)
def test_periods(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "1.5h", "1w"])
def test_what_is_not_a_duration(text: str) -> None:
    with pytest.raises(RegistryError, match="not a duration"):
        parse_duration(text)
