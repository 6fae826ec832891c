"""The cache folder: its place, its locks, and that things appear in it whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cuecard.catalogue.cache import VARIABLE, cache_root, locked, publish, require_room, workspace
from cuecard.errors import CatalogueError

HOLD = """
import sys, time
from filelock import FileLock
lock = FileLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("environment", "platform", "expected"),
    [
        ({"CUECARD_CACHE": "/x/y", "XDG_CACHE_HOME": "/z"}, "linux", "/x/y"),
        ({"CUECARD_CACHE": "~/y"}, "linux", "~/y"),
        ({"CUECARD_CACHE": "", "XDG_CACHE_HOME": "/z"}, "linux", "/z/cuecard"),
        ({"XDG_CACHE_HOME": "relative"}, "linux", "~/.cache/cuecard"),
        ({}, "linux", "~/.cache/cuecard"),
        ({"XDG_CACHE_HOME": "/z"}, "darwin", "~/Library/Caches/cuecard"),
        ({"LOCALAPPDATA": "/local"}, "win32", "/local/cuecard/Cache"),
        ({}, "win32", "~/AppData/Local/cuecard/Cache"),
    ],
)
def test_cache_root_by_platform(
    environment: dict[str, str],
    platform: str,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root(environment, platform) == Path(expected).expanduser()


def test_cache_root_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cache_root({"CUECARD_CACHE": "here"}) == tmp_path / "here"


def test_lock_lets_one_thread_in_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        with locked(tmp_path / "thing"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 5


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    target = tmp_path / "thing"
    command = [sys.executable, "-c", HOLD, str(tmp_path / ".thing.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == b"held"
        waits: list[float] = []

        def on_wait() -> None:
            waits.append(time.monotonic())
            holder.kill()

        with locked(target, on_wait):
            assert len(waits) == 1
        assert holder.wait() != 0


def test_lock_says_when_the_folder_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(CatalogueError, match="cannot be written") as caught,
        locked(tmp_path / "file" / "thing"),
    ):
        pytest.fail("not reached")
    assert "CUECARD_CACHE" in (caught.value.hint or "")


def test_workspace_is_gone_after_an_error(tmp_path: Path) -> None:
    def work() -> None:
        with workspace(tmp_path / "thing") as room:
            (room / "half").write_text("written")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert list(tmp_path.iterdir()) == []


def test_workspace_clears_what_a_killed_process_left(tmp_path: Path) -> None:
    old = tmp_path / ".thing.partial" / "tmp1" / "folder"
    old.mkdir(parents=True)
    (old / "half").write_text("written")
    with workspace(tmp_path / "thing") as room:
        assert not old.exists()
        assert list(room.iterdir()) == []


def test_publish_replaces_a_folder(tmp_path: Path) -> None:
    target = tmp_path / "thing"
    for text in ("old", "new"):
        with workspace(target) as room:
            ready = room / "folder"
            ready.mkdir()
            (ready / "file").write_text(text)
            publish(ready, target)
        assert (target / "file").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]


def test_published_file_can_be_read_by_others(tmp_path: Path) -> None:
    target = tmp_path / "thing"
    with workspace(target) as room:
        (room / "folder").mkdir()
        (room / "folder").chmod(0o755)
        secret = room / "folder" / "file"
        secret.write_text("x")
        secret.chmod(0o600)
        publish(room / "folder", target)
    assert (target / "file").stat().st_mode & 0o777 == 0o644


def test_publish_says_when_the_disk_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    target = tmp_path / "thing"
    with workspace(target) as room:
        (room / "file").write_text("x")
        with pytest.raises(CatalogueError, match="No space left"):
            publish(room / "file", target)
    assert list(tmp_path.iterdir()) == []


def test_room_on_the_disk_is_required(tmp_path: Path) -> None:
    require_room(tmp_path / "not" / "there", 1)
    with pytest.raises(CatalogueError, match="not enough room") as caught:
        require_room(tmp_path / "not" / "there", 10**18)
    assert caught.value.expected == "1000000000000 MB"


def test_no_home_is_told_with_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: object) -> str:
        return "~"

    monkeypatch.setattr("os.path.expanduser", nobody)
    for environment in ({}, {VARIABLE: "~/cuecard"}):
        with pytest.raises(CatalogueError, match=VARIABLE):
            cache_root(environment, "linux")
    assert cache_root({"XDG_CACHE_HOME": "/x"}, "linux") == Path("/x/cuecard")
