"""A start that is learnt from many tasks."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from cuecard.errors import ConfigError, Interrupted, TrainingError
from cuecard.tasks import Task, TaskSpec
from cuecard.training import read_log
from cuecard.training.few_shot.meta import FILE, MetaConfig, MetaTraining
from support.data.head_tasks import number_task
from support.data.reviews import MASKED_SPEC, SPEC, review_task, title_task
from support.tiny import tiny_backbone

TASKS = {"reviews": review_task(60), "titles": title_task(60), "others": review_task(90)}
SMALL: dict[str, Any] = {"length": 3, "batch_rows": 4, "inner_steps": 3, "inner_lr": 0.05}


def learn(folder: Path | None = None, observer: Any = None, **settings: Any) -> torch.Tensor:
    config = MetaConfig(**{**SMALL, **settings})
    training = MetaTraining(tiny_backbone(), TASKS, config, folder=folder, observer=observer)
    return training.run().vectors


def test_reptile_goes_to_the_mean_of_the_tasks_ends() -> None:
    """Adam without momentum makes a first step of the rate in each coordinate."""
    at = {r: learn(rounds=r, inner_steps=1, tasks_per_round=2, outer_lr=0.5) for r in (1, 2)}
    before = learn(rounds=1, inner_steps=1, tasks_per_round=2, outer_lr=1e-9)
    moved = (at[1] - before) / (0.5 * 0.05)
    assert set(moved.round(decimals=3).unique().tolist()) <= {-1.0, 0.0, 1.0}
    assert moved.abs().max() == pytest.approx(1, abs=1e-3)
    # The first of two rounds goes as far, the second half of that.
    apart = (at[2] - at[1]).abs().max()
    assert 0 < float(apart) <= 0.5 * 0.05 / 2 * 1.001


@pytest.mark.parametrize("algorithm", ["reptile", "fomaml"])
def test_tasks_begin_lower_from_what_is_learnt(algorithm: str) -> None:
    backbone, seen = tiny_backbone(), []
    config = MetaConfig(
        **SMALL, rounds=12, algorithm=algorithm, outer_lr={"fomaml": 0.03}.get(algorithm)
    )
    calls = []

    def watch(event: dict[str, Any]) -> None:
        calls.append(backbone.counts["calls"])
        if event["event"] == "round":
            seen.append(event)

    MetaTraining(backbone, TASKS, config, observer=watch).run()
    passes = config.inner_steps + (algorithm == "fomaml")  # of all three tasks together
    assert {b - a for a, b in itertools.pairwise(calls[1:])} == {passes}
    assert all(event["tasks"] == sorted(TASKS) for event in seen)
    first, last = (sum(e["before"] for e in some) for some in (seen[:3], seen[-3:]))
    assert last < first


@pytest.mark.parametrize("algorithm", ["reptile", "fomaml"])
def test_a_stopped_run_goes_on_to_the_same_start(tmp_path: Path, algorithm: str) -> None:
    settings: dict[str, Any] = {"rounds": 3, "tasks_per_round": 2, "algorithm": algorithm}
    whole = learn(tmp_path / "whole", **settings)

    def stop(event: dict[str, Any]) -> None:
        if event.get("round") == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="1 of 3 rounds") as stopped:
        learn(tmp_path / "cut", stop, **settings)
    assert "cuecard meta-init --resume" in str(stopped.value)
    assert not (tmp_path / "cut" / FILE).exists()
    assert torch.equal(learn(tmp_path / "cut", **settings), whole)
    assert read_log(tmp_path / "cut") == read_log(tmp_path / "whole")
    kept = [(tmp_path / name / FILE).read_bytes() for name in ("cut", "whole")]
    assert kept[0] == kept[1]
    with pytest.raises(TrainingError, match="other settings"):
        learn(tmp_path / "cut", **settings, seed=1)


@pytest.mark.parametrize(
    "tasks", [{"reviews": TASKS["reviews"]}, {"a": number_task(), "b": number_task()}]
)
def test_what_a_start_cannot_be_learnt_from(tasks: dict[str, Task]) -> None:
    with pytest.raises(ConfigError, match=r"several tasks|answered in words"):
        MetaTraining(tiny_backbone(), tasks)


@pytest.mark.parametrize(("kind", "spec"), [("t5-relu", SPEC), ("bert", MASKED_SPEC)])
def test_other_families(kind: str, spec: TaskSpec) -> None:
    tasks = {str(count): review_task(count, spec) for count in (40, 60)}
    found = MetaTraining(tiny_backbone(kind), tasks, MetaConfig(**SMALL, rounds=2)).run()
    assert found.vectors.shape == (3, tiny_backbone(kind).hidden_size)
    assert torch.isfinite(found.vectors).all()
