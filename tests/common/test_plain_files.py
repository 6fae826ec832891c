"""Writing in one step: whole or as it was before, whatever the disk says."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cuecard.errors import FileError
from cuecard.plain_files import replace_file, write_bytes, write_text


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_file_is_made_with_its_folders(tmp_path: Path) -> None:
    assert write_text("half \udce9 character", tmp_path / "a" / "b").read_text() == (
        "half \\udce9 character"
    )
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = write_bytes(b"old", tmp_path / "f")
    monkeypatch.setattr(os, call, full)
    with pytest.raises(FileError) as caught:
        write_bytes(b"new", path)
    monkeypatch.undo()
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"old", [path])
    assert caught.value.where == str(path) and "disk space" in str(caught.value.hint)


def test_an_interrupt_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    path = write_bytes(b"old", tmp_path / "f")
    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(b"new", path)
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"old", [path])


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(FileError, match="cannot write the file"):
        write_text("x", tmp_path / "f" / "g")


def test_private_files_are_for_their_owner(tmp_path: Path) -> None:
    replace_file(tmp_path / "keys", b"x", private=True)
    replace_file(tmp_path / "plain", b"x")
    mask = os.umask(0)
    os.umask(mask)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("keys", "plain")]
    assert modes == [0o600, 0o666 & ~mask]


def test_what_cannot_be_flushed_is_still_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders of some file systems cannot be flushed."""
    real = os.fsync

    def only_files(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(22, "Invalid argument")
        real(handle)

    monkeypatch.setattr(os, "fsync", only_files)
    assert write_bytes(b"x", tmp_path / "f").read_bytes() == b"x"
