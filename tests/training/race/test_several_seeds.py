"""`--method auto --seeds K`: one race, then its best contestant with every seed."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cuecard.artifacts import Prompt
from cuecard.errors import TrainingError
from cuecard.training import TrainConfig, read_log
from cuecard.training.config import Budget
from cuecard.training.race.plan import Cost, RacePlan, Sizes
from cuecard.training.race.several_seeds import FOLDER, RaceOfSeeds
from cuecard.training.seeds import SeedRuns
from support.data.reviews import review_task
from support.dying import Killed, counted
from support.tiny import tiny_backbone

CONFIG = TrainConfig(budget="97 steps", checkpoint_every=2, seed=3)
CLOCKS = {"seconds", "cpu_seconds"}
SPLITS = (".", "trials/000", "trials/001")


def run(folder: Path | None, backbone: Any = None, **options: Any) -> SeedRuns:
    settings = {"seeds": 2, "folder": folder} | options
    return RaceOfSeeds(backbone or tiny_backbone(), review_task(60), CONFIG, **settings).run()


def timeless(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in event.items() if k not in CLOCKS} for event in read_log(folder)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[SeedRuns, Path, int]:
    """A run that nothing cut, and the passes that it took; tests only read it."""
    folder, backbone = tmp_path_factory.mktemp("whole"), tiny_backbone()
    left = counted(backbone, 10**9)
    return run(folder, backbone), folder, 10**9 - left[0]


def test_what_won_the_race_is_trained_with_every_seed(whole: tuple[SeedRuns, Path, int]) -> None:
    found, folder, _ = whole
    told = read_log(folder / FOLDER)
    raced = [event for event in told if event["event"] == "raced"]
    (chosen,) = (event for event in told if event["event"] == "chosen")
    best = max(raced, key=lambda event: (event["accuracy"], -event["loss"]))
    assert chosen["contestant"] == best["contestant"]
    assert {event["event"] for event in told} == {"race", "inputs", "raced", "chosen"}
    # The budget is all seeds': what the race left is shared out.
    assert [event["steps"] for event in raced] == [16, 16]
    assert [one.steps for one in found.runs] == [(97 - 2 * 16) // 2] * 2 == [chosen["steps"]] * 2
    assert [one.prompt.manifest.seed for one in found.runs] == found.numbers["seeds"] == [3, 4]
    assert {one.method.name for one in found.runs} == {"p-tuning-v2"}
    assert found.kept.prompt.manifest.seed == found.numbers["kept"]
    spent = [*(one.cpu_seconds for one in found.runs), *(e["cpu_seconds"] for e in raced)]
    assert found.kept.cpu_seconds >= sum(spent) - 0.05  # logged to a hundredth
    assert found.kept.tokens > sum(one.tokens for one in found.runs)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.7, 0.97])
def test_a_killed_one_ends_with_the_same_bits(
    tmp_path: Path, whole: tuple[SeedRuns, Path, int], share: float
) -> None:
    found, folder, calls = whole
    backbone = tiny_backbone()
    counted(backbone, int(share * calls) + 1)
    with pytest.raises(Killed):
        run(tmp_path, backbone)
    assert run(tmp_path).kept.prompt.digest == found.kept.prompt.digest
    for place in (FOLDER, *SPLITS):
        assert timeless(tmp_path / place) == timeless(folder / place)


def test_a_finished_one_is_read_again(whole: tuple[SeedRuns, Path, int]) -> None:
    found, folder, _ = whole
    events: list[str] = []
    again = run(folder, observer=lambda event: events.append(event["event"]))
    assert {*events} == {"sweep", "finished"}
    assert again.kept.prompt.digest == found.kept.prompt.digest
    assert Prompt.load(folder / "prompt").digest == found.kept.prompt.digest
    other = RaceOfSeeds(tiny_backbone(), review_task(60), CONFIG, seeds=3)
    with pytest.raises(TrainingError, match="other settings"):
        other.fits(folder)


def test_the_average_of_seeds_that_raced() -> None:
    found = run(None, keep="average")
    assert "average" in found.numbers


def test_seconds_are_shared_out_too() -> None:
    cost = Cost(step=0.1, validation=0.2, brief=0.2, inputs=0.0)

    def plan(runs: int) -> RacePlan:
        return RacePlan.of(Budget(60.0), lambda name: cost, Sizes(900, 90, {"one": 8}, runs))

    one, three = plan(1), plan(3)
    assert 2.9 < one.final_steps["one"] / three.final_steps["one"] < 3.6
    assert plan(1000).needs > 60


def test_every_seed_starts_from_the_head_that_was_fitted(tmp_path: Path) -> None:
    task = review_task(60)
    task = replace(task, spec=task.spec.with_head("trained"))
    found = RaceOfSeeds(tiny_backbone(), task, CONFIG, seeds=2, folder=tmp_path).run()
    assert all(run.prompt.spec.head == "trained" for run in found.runs)
    for place in SPLITS[1:]:
        first = next(e for e in read_log(tmp_path / place) if e["event"] == "validation")
        assert first["step"] == 0 and first["validation_loss"] < 0.8 * math.log(2)
