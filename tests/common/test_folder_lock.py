from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cuecard import folder_lock
from cuecard.folder_lock import LOCK, held, locked_inodes


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux lists locks")
def test_a_held_folder_is_seen_without_its_lock(tmp_path: Path) -> None:
    with held(tmp_path):
        inode = (tmp_path / LOCK).stat().st_ino
        assert inode in (locked_inodes() or ())
    assert inode not in (locked_inodes() or ())


@pytest.mark.parametrize("listed", [None, "1: FLOCK\n", "\xff"])
def test_a_system_that_does_not_say(
    listed: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "locks"
    if listed is not None:
        place.write_bytes(listed.encode("latin-1"))
    monkeypatch.setattr(folder_lock, "_SYSTEM_LOCKS", place)
    assert locked_inodes() is None
