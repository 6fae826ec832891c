"""Prompts that are ported, by what their places are called."""

from __future__ import annotations

import shutil
from pathlib import Path

from cuecard.saved_prompts.ported import old_prompts


def test_prompts_of_folders_have_the_name_of_the_folder_that_was_given(
    room: Path, tmp_path: Path
) -> None:
    for name in ("rates", "depths"):  # each has chosen a run, which is in `best`
        shutil.copytree(room / "run", tmp_path / name / "best")
        (tmp_path / name / "sweep.yaml").write_text("")
    shutil.copytree(room / "run" / "prompt", tmp_path / "own")
    places = [tmp_path / "rates", tmp_path / "depths", room / "run" / "prompt", tmp_path / "own"]
    found = old_prompts([str(place) for place in places], ["texts.txt"], backbone="tiny")
    assert [*found] == ["rates", "depths", "run", "own"]
    assert found["rates"].folder == str(tmp_path / "rates" / "best" / "prompt")
