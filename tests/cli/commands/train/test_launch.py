"""`cuecard train --launch`: one command, several processes, one run."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from cuecard.training import read_log
from support.command_line import run_in_process, save_rows, save_tiny
from support.data.reviews import reviews


def words_for(folder: Path, *more: str) -> list[str]:
    rows = [{"text": row.fields["text"], "label": row.target} for row in reviews(60)]
    data, model = save_rows(folder / "rows.csv", rows), save_tiny(folder / "model")
    settings = ["--length", "3", "--init", "random", "--steps", "4", "--batch-rows", "5"]
    named = ["train", str(data), "--backbone", str(model), *settings, "--no-compare"]
    return [*named, "--dtype", "fp32", "--out", str(folder / "run"), *more]


@pytest.mark.integration
def test_two_processes_leave_one_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = words_for(tmp_path, "--json", "--launch", "2")
    monkeypatch.setattr(sys, "argv", ["cuecard", *words])
    done = run_in_process(capsys, *words)
    assert done.code == 0, done.out + done.err
    assert "WORLD_SIZE" not in os.environ
    start, *_ = read_log(tmp_path / "run")
    assert (start["event"], start["processes"]) == ("start", 2)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["steps"] == 4
    assert (tmp_path / "run" / "prompt" / "prompt.json").is_file()
    # The same recipe on one process is this very run, which is finished.
    again = run_in_process(capsys, *words[:-2])
    assert again.code == 0 and '"event": "step"' not in again.out + again.err


@pytest.mark.integration
def test_a_sharded_backbone_leaves_the_report_of_a_whole_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [word for word in words_for(tmp_path, "--json") if word != "--no-compare"]
    sharded = [*words, "--launch", "2", "--shard-backbone"]
    monkeypatch.setattr(sys, "argv", ["cuecard", *sharded])
    done = run_in_process(capsys, *sharded)
    assert done.code == 0, done.out + done.err
    start, *_ = read_log(tmp_path / "run")
    assert (start["processes"], start["sharded"]) == (2, True)
    (tmp_path / "run").rename(tmp_path / "sharded")
    assert run_in_process(capsys, *words).code == 0
    ours, theirs = (
        json.loads((tmp_path / name / "report.json").read_text()) for name in ("sharded", "run")
    )
    contests = [name for name in theirs if name.startswith("gain") and "ci95" not in name]
    assert {"gain", "gain_majority", "gain_start", "gain_in_context"} <= {*contests}
    for name in contests:
        assert ours[name] == pytest.approx(theirs[name])
    assert ours["prompt"]["accuracy"] == theirs["prompt"]["accuracy"]
    assert ours["prompt"]["ece"] == pytest.approx(theirs["prompt"]["ece"], abs=1e-6)
    assert ours["fingerprint"] == theirs["fingerprint"]


@pytest.mark.parametrize(
    ("setting", "got"),
    [([], "one process"), (["--launch", "2", "--quantize", "int8"], "weights held as int8")],
)
def test_what_is_not_sharded_is_refused(
    setting: list[str],
    got: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = words_for(tmp_path, "--shard-backbone", *setting)
    monkeypatch.setattr(sys, "argv", ["cuecard", *words])
    for more in ([], ["--dry-run"]):
        done = run_in_process(capsys, *words, *more)
        assert done.code == 2 and "sharded among several processes" in done.err
        assert got in done.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("setting", [["--method", "auto"], ["--seeds", "2"]])
def test_several_runs_at_once_are_refused(
    setting: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = words_for(tmp_path, "--launch", "2")
    if setting[1] == "auto":
        words = [word for word in words if word not in ("--length", "3", "--init", "random")]
    monkeypatch.setattr(sys, "argv", ["cuecard", *words])
    for more in ([], ["--dry-run"]):
        done = run_in_process(capsys, *words, *setting, *more)
        assert done.code == 2 and "one prompt together" in done.err
    assert not (tmp_path / "run").exists()
