"""Places for a command's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from cuecard.cli.output import check_place, writing
from cuecard.errors import ConfigError


def test_places_that_will_do(tmp_path: Path) -> None:
    check_place(None, "--out")
    check_place(tmp_path / "new" / "deep" / "report.json", "--out")
    (tmp_path / "old.json").touch()
    check_place(tmp_path / "old.json", "--out")
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]


def test_places_that_will_not(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        check_place(tmp_path, "--out")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file"):
        check_place(tmp_path / "file" / "report.json", "--out")


def test_what_the_system_says(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="No space left on device"),
        writing(tmp_path / "report.json", "--out"),
    ):
        raise OSError(28, "No space left on device")
