"""Where a registry can be, and stores that do not keep to what it stands on."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from obstore.store import MemoryStore

from cuecard.errors import RegistryError
from cuecard.registry import Registry
from cuecard.registry.gc import parse_duration
from cuecard.registry.stores import objects
from cuecard.registry.stores.local import LocalStore
from cuecard.registry.stores.objects import ObjectStore
from cuecard.registry.stores.store import open_store


class Altered:
    """A store in memory with another `put`."""

    def __init__(self, put: Any) -> None:
        self.memory = MemoryStore()
        self.put = partial(put, self.memory)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.memory, name)


def test_a_store_that_overwrites_is_refused(prompts: list[Path]) -> None:
    """As servers do that speak S3 and pass over If-None-Match."""

    def careless(memory: MemoryStore, path: str, content: bytes, mode: str = "overwrite") -> None:
        memory.put(path, content)

    registry = Registry(ObjectStore("memory://", Altered(careless)))
    for _ in range(2):  # new, and with a marker there
        with pytest.raises(RegistryError, match="overwrites objects"):
            registry.push(prompts[0], "reviews")
    assert registry.store.names("prompts") == []


def test_a_put_that_is_sent_again() -> None:
    """The answer was lost: the object is ours all the same."""
    calls: list[str] = []

    def flaky(memory: MemoryStore, path: str, content: bytes, mode: Any = "overwrite") -> None:
        calls.append(mode)
        memory.put(path, content, mode=mode)
        if len(calls) == 1:
            memory.put(path, content, mode=mode)  # again: AlreadyExistsError

    store = ObjectStore("memory://", Altered(flaky))
    assert store.create("a", b"mine") is True
    assert store.create("a", b"other") is False
    assert store.read("a", 10) == b"mine" and calls == ["create"] * 2


def test_other_failures_are_told() -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise PermissionError("no\n\nDebug source:\nGeneric { .. }")

    store = ObjectStore("memory://x", Altered(broken))
    with pytest.raises(RegistryError, match="cannot read or write the registry") as refused:
        store.create("a", b"")
    assert refused.value.got == "PermissionError: no"


def test_places(tmp_path: Path, s3: str) -> None:
    assert open_store(f"file://{tmp_path}").url == open_store(tmp_path).url == str(tmp_path)
    assert open_store(f"{s3}/b/").url == f"{s3}/b"
    for unknown in ("nowhere://a", "memory://a", "http://bucket/prompts"):
        with pytest.raises(RegistryError, match="an unknown kind of registry"):
            open_store(unknown)
    with pytest.raises(RegistryError, match="cannot open the registry") as refused:
        open_store("s3://")
    assert "AWS_ACCESS_KEY_ID" in str(refused.value.expected)


@pytest.mark.parametrize("name", ["prompts of ann", "übung/a+b=c%20", "a" * 300])
def test_a_path_of_any_letters(s3: str, name: str) -> None:
    """It is one place, however it is spelt on the wire."""
    place = f"{s3}/{uuid4().hex}/{name}"
    store = open_store(place)
    assert store.create("a/b", b"1") and store.names("a") == ["b"] and store.names("") == ["a"]
    assert open_store(place).read("a/b", 1) == b"1"
    store.remove("a/b")
    store.remove("a/b")
    assert open_store(place).names("a") == [] and store.modified("a/b") is None


def test_a_bucket_that_is_not_there(s3: str, gcs: str) -> None:
    for url in (s3, gcs):
        with pytest.raises(RegistryError, match="cannot read or write the registry") as refused:
            open_store(url.replace("registries", "nowhere")).create("a", b"")
        assert "NoSuchBucket" in str(refused.value.got) and "Debug" not in str(refused.value.got)


@pytest.mark.parametrize("kind", ["s3", "gs", "az"])
def test_a_missing_package_is_named(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(RegistryError, match="not installed") as refused:
        open_store(f"{kind}://bucket/prompts")
    extra = {"s3": "s3", "gs": "gcs", "az": "azure"}[kind]
    assert refused.value.hint == f"pip install 'cuecard[{extra}]'"


def test_credentials_of_a_profile(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the AWS tools read them; what the environment says comes first."""
    credentials = tmp_path / "credentials"
    credentials.write_text("[ann]\naws_access_key_id = ann\naws_secret_access_key = secret\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_PROFILE", "ann")
    assert objects._profile() is None
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert objects._profile()()["access_key_id"] == "ann"
    store = open_store(f"{s3}/{uuid4().hex}")
    assert store.create("a", b"1") and store.read("a", 1) == b"1"
    monkeypatch.setenv("AWS_PROFILE", "bob")
    with pytest.raises(RegistryError, match="cannot open the registry") as refused:
        open_store(s3)
    assert "bob" in str(refused.value.got)
    monkeypatch.setenv("AWS_PROFILE", "ann")
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.setattr(objects, "find_spec", lambda name: None)
    with pytest.raises(RegistryError, match="AWS_PROFILE requires boto3") as refused:
        open_store(s3)
    assert refused.value.hint == "pip install boto3"
    monkeypatch.delenv("AWS_PROFILE")
    assert objects._profile() is None


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
