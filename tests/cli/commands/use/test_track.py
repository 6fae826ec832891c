"""Runs in trackers, from the command line: while they go on, and from their logs."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cuecard.tracking.tensorboard import FOLDER
from cuecard.training.storage.log import read_log
from support.command_line import Call
from support.tensorboard_files import scalars, texts

RUNS = Path(__file__).parents[3] / "compatibility" / "fixtures" / "runs"
FLAGS = ("--text-field", "review", "--word", "negative=bad", "--word", "positive=good")
SHORT = ("--steps", "4", "--batch-rows", "8", "--no-compare")
TUNING = ("--method", "prompt-tuning", "--length", "3", "--init", "vocabulary")


def needs(package: str) -> pytest.MarkDecorator:
    there = importlib.util.find_spec(package) is not None
    return pytest.mark.skipif(not there, reason=f"{package} is not installed")


def logged(folder: Path, event: str, key: str) -> list[tuple[int, float]]:
    return [(row["step"], row[key]) for row in read_log(folder) if row["event"] == event]


def same(found: list[tuple[int, float]], expected: list[tuple[int, float]]) -> bool:
    return [step for step, _ in found] == [step for step, _ in expected] and [
        value for _, value in found
    ] == pytest.approx([value for _, value in expected])


@needs("tensorboardX")
def test_training_reports(cuecard: Call, backbone: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    flags = (data, *FLAGS, *SHORT, *TUNING, "--backbone", backbone, "--out", out)
    done = cuecard("train", *flags, "--report-to", "tensorboard", "--json")
    assert done.code == 0, done.err
    assert all(json.loads(line) for line in done.out.splitlines())
    curves = scalars(out / FOLDER)
    assert same(curves["train/loss"], logged(out, "step", "loss"))
    assert same(curves["validation/loss"], logged(out, "validation", "validation_loss"))
    assert same(curves["final/test"], logged(out, "done", "test"))
    assert f"| data.path | {data} |" in texts(out / FOLDER)["settings"]
    # Everything is there, so a replay and the finished run's own command add nothing.
    again = cuecard("track", out, "--to", "tensorboard", "--json").json["runs"]
    assert [one["sent"] for one in again] == [0] and again[0]["known"] > 0
    assert cuecard("train", *flags, "--report-to", "tensorboard").code == 0
    assert scalars(out / FOLDER) == curves
    # What it is called without it is the same run, and trains the same prompt.
    assert cuecard("train", *flags).code == 0
    assert cuecard("train", *flags, "--overwrite").code == 0
    assert not (out / FOLDER).exists()


@needs("tensorboardX")
def test_trials_of_a_sweep_are_beside_it(
    cuecard: Call, backbone: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sweep"
    flags = (data, *FLAGS, *SHORT, *TUNING, "--backbone", backbone, "--out", out)
    done = cuecard("sweep", *flags, "--grid", "lr=0.01,0.1", "--report-to", "tensorboard")
    assert done.code == 0, done.err
    for trial in ("trials/000", "trials/001"):
        curves = scalars(out / FOLDER / trial)
        assert same(curves["train/loss"], logged(out / trial, "step", "loss"))
    assert same(scalars(out / FOLDER)["final/test"], logged(out / "best", "done", "test"))
    sent = cuecard("track", out, "--to", "tensorboard", "--json").json["runs"][0]
    # The chosen trial's curve is the sweep's own only in the log.
    best = read_log(out / "best")
    assert sent["error"] is None and sent["known"] > 0
    assert same(scalars(out / FOLDER)["train/loss"], logged(out / "best", "step", "loss"))
    assert 0 < sent["sent"] < sum(len(row) for row in best)


@needs("tensorboardX")
def test_a_search_reports_its_rounds(
    cuecard: Call, backbone: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "search"
    flags = (data, *FLAGS, "--backbone", backbone, "--out", out, "--searcher", "grips")
    done = cuecard("search", *flags, "--search-budget", "600 calls", "--report-to", "tensorboard")
    assert done.code == 0, done.err
    found = [row for row in read_log(out) if row["event"] == "round"]
    curves = scalars(out / FOLDER)
    assert found and same(curves["round/best"], [(row["round"], row["best"]) for row in found])
    kept = json.loads((out / "search.json").read_text())
    assert curves["final/validation"][-1][1] == pytest.approx(kept["validation"][0]["score"])


def test_a_missing_package_is_refused_before_any_work(
    cuecard: Call, monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr("cuecard.tracking.trackers.find_spec", lambda name: None)
    out = tmp_path / "run"
    for command in ("train", "sweep", "search", "lora"):
        more = ("--grid", "lr=0.1") if command == "sweep" else ()
        done = cuecard(command, data, *more, "--out", out, "--report-to", "wandb,mlflow")
        assert done.code == 2, command
        assert "pip install 'cuecard[wandb]'" in done.err
    done = cuecard("track", RUNS / "reviews", "--to", "mlflow")
    assert done.code == 2 and "pip install 'cuecard[mlflow]'" in done.err
    assert not out.exists()


def test_mistakes(cuecard: Call, data: Path, tmp_path: Path) -> None:
    done = cuecard("train", data, "--report-to", "tensorbord")
    assert done.code == 2 and "--report-to" in done.err and "tensorboard" in done.err
    done = cuecard("track", RUNS / "reviews", "--to", "tensorbord")
    assert done.code == 2 and "there is no such tracker" in done.err
    done = cuecard("track", tmp_path, "--to", "tensorboard")
    assert done.code == 2
    done = cuecard("compare", data, "--report-to", "tensorboard")
    assert done.code == 2 and "cuecard track FOLDER" in done.err


@needs("tensorboardX")
def test_old_runs_are_sent_once(cuecard: Call, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for name in ("reviews", "lora"):
        shutil.copytree(RUNS / name, runs / name)
    first = cuecard("track", runs, "--to", "tensorboard")
    assert first.code == 0, first.err
    second = cuecard("track", runs, "--to", "tensorboard")
    assert "sent" in first.out and second.out.count("nothing new") == 2
    for name in ("reviews", "lora"):
        curves = scalars(runs / name / FOLDER)
        assert same(curves["train/loss"], logged(runs / name, "step", "loss"))
    # Of files that were removed, everything is sent again.
    shutil.rmtree(runs / "lora" / FOLDER)
    cuecard("track", runs / "lora", "--to", "tensorboard")
    assert "train/loss" in scalars(runs / "lora" / FOLDER)


@needs("tensorboardX")
def test_a_tracker_that_cannot_write_ends_no_run(
    cuecard: Call, backbone: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / FOLDER).write_text("a file where its folder should be")
    flags = (data, *FLAGS, *SHORT, *TUNING, "--backbone", backbone, "--out", out)
    done = cuecard("train", *flags, "--report-to", "tensorboard", "--json")
    assert done.code == 0
    warned = [json.loads(line) for line in done.err.splitlines() if '"warning"' in line]
    assert ["tensorboard takes no more" in one["text"] for one in warned] == [True]
    assert json.loads(done.out.splitlines()[-1])["folder"] == str(out)
    done = cuecard("track", out, "--to", "tensorboard")
    assert done.code == 2 and "then it failed" in done.out


@needs("mlflow")
def test_mlflow(cuecard: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
    folder = shutil.copytree(RUNS / "sweep", tmp_path / "sweep")
    done = cuecard("track", folder, "--to", "mlflow")
    assert done.code == 0, done.err
    assert "nothing new" in cuecard("track", folder, "--to", "mlflow").out
    client: Any = importlib.import_module("mlflow").MlflowClient(place)
    experiment = client.get_experiment_by_name("cuecard").experiment_id
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert set(runs) == {"sweep", "sweep/trials/000", "sweep/trials/001"}
    found = client.get_metric_history(runs["sweep/trials/000"].info.run_id, "train/loss")
    steps = [(one.step, one.value) for one in found]
    assert same(sorted(steps), logged(folder / "trials" / "000", "step", "loss"))
    parent = runs["sweep/trials/000"].data.tags["mlflow.parentRunId"]
    assert parent == runs["sweep"].info.run_id
    assert runs["sweep"].data.params["config.lr"] == "0.1"
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


@needs("wandb")
def test_wandb(cuecard: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = shutil.copytree(RUNS / "reviews", tmp_path / "reviews")
    done = cuecard("track", folder, "--to", "wandb")
    assert done.code == 0, done.err
    assert "nothing new" in cuecard("track", folder, "--to", "wandb").out
    (kept,) = folder.glob("wandb/offline-run-*/*.wandb")
    content = kept.read_bytes()
    assert b"validation/loss" in content and b"prompt-tuning" in content


@needs("trackio")
def test_trackio(cuecard: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("trackio.utils.TRACKIO_DIR", tmp_path / "kept")
    monkeypatch.setattr("trackio.sqlite_storage.TRACKIO_DIR", tmp_path / "kept")
    folder = shutil.copytree(RUNS / "reviews", tmp_path / "reviews")
    done = cuecard("track", folder, "--to", "trackio", "--json")
    assert done.code == 0, done.err
    assert done.json["runs"][0]["error"] is None  # what Trackio prints is elsewhere
    assert "nothing new" in cuecard("track", folder, "--to", "trackio").out
    storage: Any = importlib.import_module("trackio.sqlite_storage").SQLiteStorage
    (name,) = storage.get_runs("cuecard")
    rows = storage.get_logs("cuecard", name)
    found = [(row["step"], row["train/loss"]) for row in rows if "train/loss" in row]
    assert name.startswith("reviews-") and same(found, logged(folder, "step", "loss"))
