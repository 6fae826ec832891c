"""A run that is killed at any moment and gone on with ends bit-equal to one that never was."""

from __future__ import annotations

import json
import pickle
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from cuecard.errors import CuecardError, Interrupted, TrainingError
from cuecard.methods import PromptTuning, method_settings
from cuecard.training import TrainConfig, read_log
from cuecard.training.train import train
from cuecard.training.trainables.initial_method import new_method
from support.data.reviews import SPEC, review_task
from support.forked_runs import forked_runs
from support.tiny import tiny_backbone

CONFIG = TrainConfig(steps=12, batch_rows=4, eval_every=3, checkpoint_every=2)


def run(folder: Path | None, observer: Any = None, method: Any = None, **changes: Any) -> Any:
    config = CONFIG.model_copy(update=changes)
    method = method or PromptTuning(length=4, init="random")
    return train(tiny_backbone(), review_task(60), method, config, folder=folder, observer=observer)


class _Killed(Exception):
    """Stands for a death between two lines of code."""


@pytest.fixture(scope="module", params=["adamw", "adafactor"])
def uncut(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The optimizer's name, and a run with it that nothing cut."""
    return request.param, run(tmp_path_factory.mktemp("whole"), optimizer=request.param)


@pytest.mark.parametrize("seed", range(6))
def test_dying_at_a_random_event(tmp_path: Path, seed: int, uncut: Any) -> None:
    optimizer, whole = uncut
    rng = random.Random(seed)
    for _ in range(3):
        countdown = rng.randint(1, 9)

        def die(event: dict[str, Any], left: list[int] = [countdown]) -> None:  # noqa: B006
            left[0] -= 1
            if left[0] == 0:
                raise _Killed

        try:
            run(tmp_path / "cut", die, optimizer=optimizer)
        except _Killed:
            continue
    cut = run(tmp_path / "cut", optimizer=optimizer)
    assert torch.equal(cut.prompt.vectors, whole.prompt.vectors)
    assert cut.prompt.digest == whole.prompt.digest
    assert cut.best_step == whole.best_step
    assert timeless(tmp_path / "cut") == timeless(whole.folder)


SOURCES = torch.randn(3, 4, 32, generator=torch.Generator().manual_seed(5)) * 0.1

METHODS: dict[str, dict[str, Any]] = {
    "p-tuning": {"encoder": "lstm", "length": 4, "init": "random"},
    "residual": {"bottleneck": 8, "layer_norm": True, "length": 4, "init": "random"},
    "mpt": {"length": 4, "init": "random"},
    "attempt": {"sources": SOURCES, "bottleneck": 4, "init": "random"},
    "dept": {"rank": 2, "tokens": 6, "length": 4, "init": "random"},
    "wayward": {"text": "good or bad", "gamma": 0.1},
    "prefix-tuning": {"length": 4, "hidden": 8},
    "p-tuning-v2": {"length": 4, "init": "random"},
    "deep-prompts": {"length": 4, "init": "random"},
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_goes_on_with_the_same_bits(tmp_path: Path, name: str) -> None:
    method = method_settings(name, METHODS[name])
    whole = run(tmp_path / "whole", method=method)

    def die(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 7:
            raise _Killed

    with pytest.raises(_Killed):
        run(tmp_path / "cut", die, method=method)
    cut = run(tmp_path / "cut", method=method)
    assert cut.prompt.digest == whole.prompt.digest
    assert timeless(tmp_path / "cut") == timeless(tmp_path / "whole")
    first, second = (
        torch.load(tmp_path / folder / "checkpoint.pt", weights_only=True)["runs"][0]["best"]
        for folder in ("cut", "whole")
    )
    # Everything, not just what is folded from it.
    assert set(first) == set(new_method(tiny_backbone(), SPEC, method, 0).state_dict())
    assert all(torch.equal(first[key], second[key]) for key in first)


def timeless(folder: Path) -> list[dict[str, Any]]:
    clocks = {"seconds", "cpu_seconds"}
    return [{k: v for k, v in row.items() if k not in clocks} for row in read_log(folder)]


WORK = """
import sys
import torch
torch.set_num_threads(1)
from pathlib import Path
from cuecard.methods import PromptTuning
from cuecard.training import TrainConfig
from cuecard.training.train import train
from support.data.reviews import SPEC, review_task
from support.tiny import tiny_backbone

def work():
    config = TrainConfig.model_validate_json(sys.argv[2])
    method = PromptTuning(length=4, init="random")
    train(tiny_backbone(), review_task(60), method, config, folder=Path(sys.argv[1]))
"""


@pytest.mark.integration
def test_kill_minus_nine(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"steps": 60})
    whole = run(tmp_path / "whole", steps=60)
    folder = tmp_path / "cut"
    codes = []
    rng = random.Random(1)
    with forked_runs(WORK, str(folder), config.model_dump_json()) as live:
        for _ in range(3):
            before, more = len(read_log(folder)), rng.randint(5, 25)
            codes.append(live(lambda: len(read_log(folder)) > before + more))  # noqa: B023
    assert codes[0] == -9 and set(codes) <= {-9, 0}
    cut = run(folder, steps=60)
    assert torch.equal(cut.prompt.vectors, whole.prompt.vectors)
    assert not list(folder.glob("prompt.*"))


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 5:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match="stopped after step 5 of 12") as stopped:
        run(tmp_path / "cut", stop)
    assert stopped.value.exit_code == 130
    assert f"--resume {tmp_path / 'cut'}" in str(stopped.value)
    cut, whole = run(tmp_path / "cut"), run(None)
    assert torch.equal(cut.prompt.vectors, whole.prompt.vectors)


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = run(tmp_path)
    steps: list[int] = []
    again = run(tmp_path, lambda e: steps.append(e["step"]) if e["event"] == "step" else None)
    assert steps == []
    assert again.prompt.digest == first.prompt.digest


def test_other_settings_do_not_resume(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(TrainingError, match="other settings"):
        run(tmp_path, seed=1)


def test_a_torn_checkpoint_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(TrainingError, match="cannot be read"):
        run(tmp_path)


def test_a_pickle_is_not_executed(tmp_path: Path) -> None:
    target = tmp_path / "executed"
    payload = {"key": _Bomb(str(target))}
    (tmp_path / "checkpoint.pt").write_bytes(pickle.dumps(payload, protocol=2))
    with pytest.raises(CuecardError):
        run(tmp_path)
    assert not target.exists()


class _Bomb:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (Path(self.path),)


def test_the_log_is_json_and_ends_with_done(tmp_path: Path) -> None:
    run(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["event"] for row in rows].count("step") == 12
    assert rows[0]["event"] == "start" and rows[-1]["event"] == "done"
