"""Places for a command's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from cuecard.cli.output import check_place, writing
from cuecard.errors import ConfigError, FileError
from cuecard.plain_files import write_text


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


def test_a_file_that_cannot_be_written_is_named_with_its_option(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError) as raised, writing("--out"):
        write_text("{}", tmp_path / "file" / "report.json")
    assert raised.value.where == f"--out {tmp_path / 'file' / 'report.json'}"
    assert raised.value.got in {"Not a directory", "File exists"}
