"""A sweep on a local Ray cluster of two workers is the sweep of one process."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest

from cuecard.errors import ConfigError, TrainingError
from cuecard.ray_cluster import ray_cluster
from cuecard.runs.sweeps.on_ray import sweep_on_ray, train_shard
from cuecard.runs.sweeps.sweep_recipe import SweepRecipe, run_sweep
from support.command_line import save_rows, save_tiny
from support.data.reviews import reviews
from support.needs_ray import needs_ray

pytestmark = [
    # Ray's own remarks, on its defaults and on sockets that it leaves open.
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ray")
    rows = [{"text": row.fields["text"], "label": row.target} for row in reviews(60)]
    save_rows(folder / "rows.csv", rows)
    save_tiny(folder / "model")
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with ray_cluster(None, 2):
        yield


def plan(place: Path, out: Path, steps: int = 4, **sweep: Any) -> SweepRecipe:
    recipe = {
        "data": {"path": str(place / "rows.csv")},
        "backbone": str(place / "model"),
        "dtype": "fp32",
        "method": {"name": "prompt-tuning", "length": 2, "init": "random"},
        "training": {"steps": steps, "batch_rows": 4, "checkpoint_every": 2},
        "compare": False,
        "out": str(out),
    }
    grid = {"lr": [0.01, 0.1], "seed": [0, 1]}
    return SweepRecipe.parse({"recipe": recipe, "sweep": {"grid": grid, "together": 1, **sweep}})


def trials(folder: Path) -> list[dict[str, Any]]:
    found = json.loads((folder / "sweep.json").read_text())["trials"]
    return [{k: v for k, v in t.items() if not k.endswith("seconds")} for t in found]


@needs_ray
@pytest.mark.usefixtures("cluster")
def test_two_workers_are_as_one_process(place: Path, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    found = sweep_on_ray(plan(place, tmp_path / "two"), 2, observer=events.append)
    one = run_sweep(plan(place, tmp_path / "one"))
    assert trials(tmp_path / "two") == trials(tmp_path / "one")
    assert found.sweep.run.prompt.digest == one.sweep.run.prompt.digest
    assert sorted(e["shard"] for e in events if e["event"] == "shard") == ["0/2", "1/2"]


@needs_ray
@pytest.mark.usefixtures("cluster")
def test_a_killed_worker_begins_again_where_it_was(place: Path, tmp_path: Path) -> None:
    asked = plan(place, tmp_path / "cut", steps=300)
    log = tmp_path / "cut-0-of-2" / "trials" / "000" / "log.jsonl"
    killed: list[int] = []

    def kill() -> None:
        while not (log.is_file() and log.read_bytes().count(b'"step"') > 20):
            time.sleep(0.02)
        for process in psutil.process_iter(["cmdline"]):
            if "ray::train_shard" in " ".join(process.info["cmdline"] or ()):
                process.send_signal(signal.SIGKILL)
                killed.append(process.pid)
                return

    killer = Thread(target=kill, daemon=True)
    killer.start()
    found = sweep_on_ray(asked, 2)
    killer.join(10)
    assert killed
    assert [trial["ended"] for trial in trials(tmp_path / "cut")] == ["steps"] * 4
    assert found.sweep.run.steps == 300


@needs_ray
@pytest.mark.usefixtures("cluster")
def test_what_a_shard_fails_by_is_said(place: Path, tmp_path: Path) -> None:
    asked = plan(place, tmp_path / "bad")
    gone = asked.recipe.model_copy(update={"backbone": str(tmp_path / "no-model")})
    with pytest.raises(TrainingError, match=r"shard 0/2: unknown backbone"):
        sweep_on_ray(asked.model_copy(update={"recipe": gone}), 2)


@needs_ray
def test_several_seeds_are_refused_before_a_cluster_is_there(place: Path, tmp_path: Path) -> None:
    asked = plan(place, tmp_path / "seeds")
    several = asked.recipe.model_copy(update={"seeds": 2})
    with pytest.raises(ConfigError, match="one seed"):
        sweep_on_ray(asked.model_copy(update={"recipe": several}), 2)


def test_a_task_gives_a_users_error_back(place: Path, tmp_path: Path) -> None:
    asked = plan(place, tmp_path / "one").model_dump(mode="json")
    asked["recipe"]["backbone"] = str(tmp_path / "no-model")
    before = Path.cwd()
    try:
        assert "unknown backbone" in str(train_shard(asked, str(tmp_path)))
    finally:
        os.chdir(before)


def test_a_shard_is_not_shared_out(place: Path, tmp_path: Path) -> None:
    whole = plan(place, tmp_path / "x")
    sweep = whole.sweep.model_copy(update={"shard": "0/2"})
    with pytest.raises(ConfigError):
        sweep_on_ray(whole.model_copy(update={"sweep": sweep}), 2)


def test_without_ray_its_extra_is_named(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"cuecard\[ray\]"):
        sweep_on_ray(plan(place, tmp_path / "x"), 2)
