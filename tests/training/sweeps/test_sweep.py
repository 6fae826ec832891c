"""Sweeps: what is tried, chosen and left, and that a kill changes nothing."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cuecard.artifacts import Prompt
from cuecard.errors import ConfigError, DataError, Interrupted, TrainingError
from cuecard.methods import PromptTuning
from cuecard.training import Sweep, SweepConfig, TrainConfig, read_log
from cuecard.training.sweep import sweep
from cuecard.training.train import train
from support.data.reviews import LONG_SPEC, review_task
from support.forked_runs import forked_runs
from support.tiny import tiny_backbone

METHOD = PromptTuning(length=4, init="random")
CONFIG = TrainConfig(steps=12, batch_rows=4, eval_every=3, checkpoint_every=2)
GRID = SweepConfig(grid={"lr": (0.01, 0.1), "seed": (0, 1), "length": (2, 5)}, together=3)
TPE = SweepConfig(
    ranges={"lr": "1e-3..1:log", "length": "2..6"},
    grid={"slot": ("prefix", "suffix")},
    search="tpe",
    trials=9,
    together=3,
)
CLOCKS = {"seconds", "cpu_seconds"}


def run(space: SweepConfig, folder: Path | None = None, observer: Any = None) -> Sweep:
    task = review_task(60)
    return sweep(tiny_backbone(), task, space, METHOD, CONFIG, folder=folder, observer=observer)


def timeless(path: Path) -> Any:
    def cleaned(value: Any) -> Any:
        if isinstance(value, dict):
            kept = {k: v for k, v in value.items() if k not in CLOCKS | {"folder"}}
            return {k: cleaned(v) for k, v in kept.items()}
        return [cleaned(v) for v in value] if isinstance(value, list) else value

    return cleaned(read_log(path) if path.is_dir() else json.loads(path.read_text()))


Whole = Callable[[SweepConfig], tuple[Sweep, Path]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """A sweep that nothing cut, and its folder; tests only read them."""
    found: dict[str, tuple[Sweep, Path]] = {}

    def make(space: SweepConfig) -> tuple[Sweep, Path]:
        key = space.model_dump_json()
        if key not in found:
            folder = tmp_path_factory.mktemp("whole")
            found[key] = run(space, folder), folder
        return found[key]

    return make


def test_a_grid_tries_all_and_chooses_by_validation(whole: Whole) -> None:
    found, folder = whole(GRID)
    assert [t.settings["training.lr"] for t in found.trials] == [0.01] * 4 + [0.1] * 4
    assert len({tuple(t.settings.items()) for t in found.trials}) == 8
    assert found.best.loss == min(trial.loss for trial in found.trials)
    assert found.run.prompt.vectors.shape[0] == found.best.settings["method.length"]
    assert found.run.test is not None and found.run.folder == folder / "best"
    report = json.loads((folder / "sweep.json").read_text())
    assert len(report["trials"]) == 8 and report["best"][0]["trial"] == found.best.number
    assert (folder / "sweep.md").read_text().count("\n| ") == 2 + 8
    logs = [read_log(folder / "trials" / f"{n:03d}") for n in range(8)]
    assert all(sum(e["event"] == "step" for e in log) == 12 for log in logs)
    # Only the chosen run knows of the test rows.
    assert not any(e["event"] in ("test", "done") for log in logs for e in log)
    best = read_log(folder / "best")
    assert [e["event"] for e in best[-2:]] == ["test", "done"]
    assert Prompt.load(folder / "best" / "prompt", tiny_backbone()).digest == best[-1]["digest"]


def test_a_trial_is_the_run_with_its_settings(whole: Whole) -> None:
    found, _ = whole(GRID)
    method, config = PromptTuning(length=5, init="random"), CONFIG.model_copy(update={"lr": 0.1})
    alone = train(tiny_backbone(), review_task(60), method, config)
    (trial,) = [
        t
        for t in found.trials
        if t.settings == {"training.lr": 0.1, "training.seed": 0, "method.length": 5}
    ]
    assert trial.loss == pytest.approx(alone.validation.loss, rel=1e-4)
    assert (trial.best_step, trial.steps) == (alone.best_step, alone.steps)


def test_a_grid_costs_the_passes_of_its_rounds() -> None:
    """Eight trials, three in a pass, twelve steps each: three rounds of twelve passes."""
    backbone = tiny_backbone()
    passes = 0

    def count(event: dict[str, Any]) -> None:
        nonlocal passes
        if event["event"] == "step":
            passes += backbone.counts["calls"]
        backbone.reset_counts()

    sweep(backbone, review_task(60), GRID, METHOD, CONFIG, observer=count)
    assert passes == 3 * 12


def test_each_task_has_a_chosen_prompt(tmp_path: Path) -> None:
    tasks = {"short": review_task(60), "long": review_task(60, LONG_SPEC)}
    space = SweepConfig(grid={"lr": (0.01, 0.1)})
    found = sweep(tiny_backbone(), tasks, space, METHOD, CONFIG, folder=tmp_path)
    assert [t.task for t in found.trials] == ["short", "long"] * 2
    for name, number in found.chosen.items():
        mine = [t for t in found.trials if t.task == name]
        assert found.trials[number].loss == min(t.loss for t in mine)
        saved = Prompt.load(tmp_path / "best" / name / "prompt", tiny_backbone())
        assert torch.equal(saved.vectors, found.runs[name].prompt.vectors)


def test_tpe_proposes_and_prunes(whole: Whole) -> None:
    found, _ = whole(TPE)
    assert len(found.trials) == 9
    assert {t.settings["method.slot"] for t in found.trials} == {"prefix", "suffix"}
    pruned = [t for t in found.trials if t.ended == "pruned"]
    assert pruned and all(t.steps < 12 for t in pruned)
    unpruned = run(TPE.model_copy(update={"prune": False}))
    assert all(t.ended == "steps" for t in unpruned.trials)


def test_a_grid_prunes_when_asked() -> None:
    better_first = {**GRID.grid, "lr": (0.1, 0.01)}
    found = run(GRID.model_copy(update={"prune": True, "grid": better_first}))
    pruned = [t for t in found.trials if t.ended == "pruned"]
    assert pruned and all(t.number >= 3 and t.steps < 12 for t in pruned)
    assert found.best.ended == "steps"


class _Killed(Exception):
    """Stands for a death between two lines of code."""


@pytest.mark.parametrize("space", [GRID, TPE], ids=["grid", "tpe"])
@pytest.mark.parametrize("seed", range(3))
def test_dying_at_a_random_event(
    tmp_path: Path, space: SweepConfig, seed: int, whole: Whole
) -> None:
    rng = random.Random(seed)
    for _ in range(3):
        countdown = rng.randint(3, 120)

        def die(event: dict[str, Any], left: list[int] = [countdown]) -> None:  # noqa: B006
            left[0] -= 1
            if left[0] == 0:
                raise _Killed

        try:
            run(space, tmp_path / "cut", die)
        except _Killed:
            continue
    cut = run(space, tmp_path / "cut")
    assert_same(cut, tmp_path / "cut", *whole(space))


def assert_same(cut: Sweep, cut_at: Path, whole: Sweep, whole_at: Path) -> None:
    assert torch.equal(cut.run.prompt.vectors, whole.run.prompt.vectors)
    assert cut.run.prompt.digest == whole.run.prompt.digest
    for place in ("best", *(f"trials/{t.number:03d}" for t in whole.trials)):
        assert timeless(cut_at / place) == timeless(whole_at / place)
    assert timeless(cut_at / "sweep.json") == timeless(whole_at / "sweep.json")


def test_a_shard_that_dies_resumes_and_chooses_nothing(tmp_path: Path) -> None:
    shard = GRID.model_copy(update={"shard": "1/3", "together": 2})
    whole = run(shard, tmp_path / "whole")
    assert [trial.number for trial in whole.trials] == [1, 4, 7]
    seen = 0

    def die(event: dict[str, Any]) -> None:
        nonlocal seen
        seen += event["event"] == "step"
        if seen == 17:  # in the middle of the first two
            raise _Killed

    with pytest.raises(_Killed):
        run(shard, tmp_path / "cut", die)
    cut = run(shard, tmp_path / "cut")
    for place in ("sweep.json", *(f"trials/{trial.number:03d}" for trial in whole.trials)):
        assert timeless(tmp_path / "cut" / place) == timeless(tmp_path / "whole" / place)
    assert not (tmp_path / "cut" / "best").exists() and not cut.runs
    with pytest.raises(TrainingError, match="a shard of a sweep chooses no trial"):
        _ = cut.best
    with pytest.raises(TrainingError, match="collect_sweep"):
        _ = cut.run


WORK = """
import sys
import torch
torch.set_num_threads(1)
from pathlib import Path
from test_sweep import TPE, run

def work():
    run(TPE, Path(sys.argv[1]))
"""


@pytest.mark.integration
def test_kill_minus_nine(tmp_path: Path, whole: Whole) -> None:
    folder = tmp_path / "cut"
    codes = []
    rng = random.Random(1)

    def written() -> int:
        return sum(len(read_log(log.parent)) for log in folder.glob("trials/*/log.jsonl"))

    with forked_runs(WORK, str(folder), path=Path(__file__).parent) as live:
        for _ in range(2):
            before, more = written(), rng.randint(8, 40)
            codes.append(live(lambda: written() > before + more))  # noqa: B023
    assert codes[0] == -9 and set(codes) <= {-9, 0}
    assert_same(run(TPE, folder), folder, *whole(TPE))


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path, whole: Whole) -> None:
    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["trial"] == 4:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match="stopped with 3 of 8 trials finished") as stopped:
        run(GRID, tmp_path / "cut", stop)
    assert f"cuecard sweep --resume {tmp_path / 'cut'}" in str(stopped.value)
    assert_same(run(GRID, tmp_path / "cut"), tmp_path / "cut", *whole(GRID))
    with pytest.raises(Interrupted, match="nothing was kept"):
        run(GRID, None, stop)


def test_a_finished_sweep_is_not_trained_again(tmp_path: Path) -> None:
    first = run(GRID, tmp_path)
    events: list[str] = []
    again = run(GRID, tmp_path, lambda e: events.append(e["event"]))
    assert "step" not in events and again.run.prompt.digest == first.run.prompt.digest
    with pytest.raises(TrainingError, match="other settings"):
        run(GRID.model_copy(update={"together": 2}), tmp_path)


def test_trials_that_diverge_are_told_and_not_chosen() -> None:
    space = SweepConfig(grid={"lr": (0.05, 1e30)})
    config = CONFIG.model_copy(update={"weight_decay": 1.0, "warmup": 0})
    found = sweep(tiny_backbone(), review_task(60), space, METHOD, config)
    assert [t.ended for t in found.trials] == ["steps", "diverged"] and found.best.number == 0
    assert found.trials[1].error is not None and "diverged" in str(found.trials[1].error["what"])
    hot = SweepConfig(grid={"lr": (1e30,)})
    with pytest.raises(TrainingError, match="every trial of the sweep diverged"):
        sweep(tiny_backbone(), review_task(60), hot, METHOD, config)


def test_mistakes_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean lr"):
        run(SweepConfig(grid={"lrr": (0.1,)}))
    with pytest.raises(DataError, match="needs a task"):
        sweep(tiny_backbone(), {}, GRID)
    tasks = {"a": review_task(60), "b": replace(review_task(60), validation=())}
    with pytest.raises(DataError, match=r"(?s)no validation rows.*task b"):
        sweep(tiny_backbone(), tasks, GRID)
