"""The protocol of VTAB-1k on tiny sets: what trains, what chooses, and when the test is seen."""

from __future__ import annotations

import math
import shutil
import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cuecard.comparison.sealed_task import SealedTask
from cuecard.comparison.vtab import RETRAIN, SELECT, TESTS, VtabRunner
from cuecard.comparison.vtab_scores import (
    VtabScore,
    mean_over_groups,
    mean_over_tasks,
)
from cuecard.comparison.vtab_settings import GRIDS, SEEDS, VtabSettings
from cuecard.errors import ConfigError, DataError, Interrupted, TrainingError
from cuecard.methods import DeepPrompts
from cuecard.metrics.intervals import mean_interval
from cuecard.tasks import Task
from cuecard.types import Image
from support.tiny_vision import SPEC, pictures, tiny_vision

METHOD = DeepPrompts(length=2)
PROTOCOL = VtabSettings(
    grid={"lr": (4.0, 1.0), "weight_decay": (0.0,), "warmup": (1,)},
    epochs=2,
    batch_rows=16,
    examples=40,
    test_rows=12,
    seeds=(42, 44),
)


def sealed(name: str, seed: int) -> SealedTask:
    task = Task.from_records(SPEC, pictures(90, seed), split=(0.6, 0.2, 0.2))
    return SealedTask.of(
        name,
        f"group of {name}",
        task,
        examples=PROTOCOL.examples,
        selection_rows=PROTOCOL.selection_rows,
        test_rows=PROTOCOL.test_rows,
    )


@dataclass
class Watched:
    """A run of the protocol, with the images that the model saw before the tests, and in them."""

    tasks: list[SealedTask]
    folder: Path
    backbone: Any = field(default_factory=tiny_vision)
    events: list[dict[str, Any]] = field(default_factory=list)
    before: Counter[Image] = field(default_factory=Counter)
    after: Counter[Image] = field(default_factory=Counter)

    def run(self, settings: VtabSettings = PROTOCOL) -> tuple[VtabScore, ...]:
        read_many = self.backbone.read_many

        def watched(parts: Any, **how: Any) -> Any:
            images = [image for batch, _ in parts for row in batch.images for image in row]
            images = [image for image in images if image.pixels]  # not those of prompts' self-tests
            phases = {event["phase"] for event in self.events if event["event"] == "vtab"}
            (self.after if TESTS in phases else self.before).update(images)
            return read_many(parts, **how)

        self.backbone.read_many = watched
        try:
            runner = VtabRunner(
                self.backbone, self.tasks, METHOD, settings, self.folder, self.events.append
            )
            return runner.run()
        finally:
            self.backbone.read_many = read_many

    def test_images(self) -> set[Image]:
        return {image for task in self.tasks for row in task.sealed for image in row.images}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Watched, tuple[VtabScore, ...]]:
    """Two sets, from nothing to the scores; tests only read it."""
    found = Watched([sealed("one", 1), sealed("two", 2)], tmp_path_factory.mktemp("vtab"))
    return found, found.run()


def test_the_parts_of_a_set() -> None:
    task = sealed("one", 1)
    rows = [task.selection.train, task.selection.validation, task.retraining.train, task.sealed]
    assert [len(each) for each in rows] == [32, 8, 40, 12]
    labels = [Counter(record.target for record in each) for each in rows]
    for label, count in labels[2].items():
        assert labels[0][label] + labels[1][label] == count
        assert abs(labels[0][label] - 0.8 * count) < 1
    chosen, choose, every, test = ({row.images[0] for row in each} for each in rows)
    assert chosen | choose == every and not every & test
    assert task.selection.test == task.retraining.test == ()
    assert task.test_rows >= 12
    assert task.selection.report.data_hash != task.retraining.report.data_hash


def test_nothing_sees_the_test_before_all_is_trained(
    watched: tuple[Watched, tuple[VtabScore, ...]],
) -> None:
    run, _ = watched
    tests = run.test_images()
    assert len(tests) == 24
    assert not tests & run.before.keys()
    assert run.before.keys() == {
        image for task in run.tasks for row in task.retraining.train for image in row.images
    }
    # Then each is seen once by every seed's prompt, and nothing else is.
    assert run.after == dict.fromkeys(tests, len(PROTOCOL.seeds))
    phases = [(e["phase"], e["data"]) for e in run.events if e["event"] == "vtab"]
    assert phases == [
        (SELECT, None),
        *((RETRAIN, name) for name in ("one", "two")),
        *((TESTS, name) for name in ("one", "two")),
    ]
    begun = next(n for n, e in enumerate(run.events) if e.get("phase") == TESTS)
    trained = [n for n, e in enumerate(run.events) if e["event"] in ("step", "validation")]
    assert max(trained) < begun


def test_what_is_tried_chosen_and_trained(watched: tuple[Watched, tuple[VtabScore, ...]]) -> None:
    run, scores = watched
    for score, task in zip(scores, run.tasks, strict=True):
        assert (score.name, score.group) == (task.name, task.group)
        assert len(score.trials) == 2
        # Rates for 256 rows, in batches of 16.
        assert [t.settings["training.lr"] for t in score.trials] == [0.25, 0.0625]
        assert all(t.steps == 2 * math.ceil(32 / 16) for t in score.trials)
        best = max(t.accuracy or 0 for t in score.trials)
        assert score.validation == best
        assert score.settings in [t.settings for t in score.trials if t.accuracy == best]
        assert [len(each) for each in score.right] == [12, 12] and score.seeds == (42, 44)
        assert score.trained == run.backbone.num_layers * 2 * 32 + 2 * 32 + 2
        assert score.bytes == 4 * score.trained
    starts = [e for e in run.events if e["event"] == "start"]
    assert [e["rows"]["train"] for e in starts] == [32] * 4 + [40] * 4
    assert all(e["rows"]["test"] == 0 for e in starts)
    retrained = [e["config"] for e in starts[4:]]
    assert all(config["steps"] == 2 * math.ceil(40 / 16) for config in retrained)
    assert [config["seed"] for config in retrained] == [42, 44] * 2
    assert {config["head_lr"] for config in retrained} == {"lr"}
    assert {config["warmup"] for config in retrained} == {1}, "as it was chosen"


def test_it_goes_on_where_it_stopped(
    watched: tuple[Watched, tuple[VtabScore, ...]], tmp_path: Path
) -> None:
    run, scores = watched
    folder = tmp_path / "again"
    shutil.copytree(run.folder, folder)
    again = Watched(run.tasks, folder, run.backbone)
    same = again.run()
    assert not again.test_images() & (again.before + again.after).keys()
    assert not [e for e in again.events if e["event"] == "step"]
    (folder / TESTS / "two.json").unlink()
    (folder / TESTS / "one.json").write_text("{")
    third = Watched(run.tasks, folder, run.backbone)
    for found in (same, third.run()):
        for score, first in zip(found, scores, strict=True):
            assert score.settings == first.settings and score.scores == first.scores
            assert [each.tolist() for each in score.right] == [x.tolist() for x in first.right]
    assert third.after == run.after
    other = PROTOCOL.model_copy(update={"epochs": 3})
    with pytest.raises(TrainingError):
        Watched(run.tasks, folder, run.backbone).run(other)


class Died(Exception):
    """What stands for a process that ends."""


@pytest.mark.parametrize(
    ("where", "number", "begun"),
    [("step", 3, [40] * 4), ("vtab", 3, [40] * 2), ("vtab", 5, [])],
)
def test_cut_off_anywhere_it_ends_with_the_same_scores(
    watched: tuple[Watched, tuple[VtabScore, ...]],
    tmp_path: Path,
    where: str,
    number: int,
    begun: list[int],
) -> None:
    """In the choosing, before the second set's training, before its test."""
    run, scores = watched
    left = number

    def dies(event: dict[str, Any]) -> None:
        nonlocal left
        left -= event["event"] == where
        if left == 0:
            raise Died

    runner = VtabRunner(run.backbone, run.tasks, METHOD, PROTOCOL, tmp_path, dies)
    with pytest.raises(Died):
        runner.run()
    again = Watched(run.tasks, tmp_path, run.backbone)
    for found, first in zip(again.run(), scores, strict=True):
        assert (found.settings, found.scores) == (first.settings, first.scores)
    assert not again.test_images() & again.before.keys()
    tested = [event["data"] for event in again.events if event.get("phase") == TESTS]
    assert tested == (["two"] if number == 5 else ["one", "two"])
    sizes = [event["rows"]["train"] for event in again.events if event["event"] == "start"]
    # What was trained to its end is not begun again.
    assert sizes == begun


def test_ctrl_c_says_how_to_resume(
    watched: tuple[Watched, tuple[VtabScore, ...]], tmp_path: Path
) -> None:
    run, _ = watched
    stops = [SELECT]

    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "step" and stops:
            stops.pop()
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted) as told:
        VtabRunner(run.backbone, run.tasks, METHOD, PROTOCOL, tmp_path, stop).run()
    assert told.value.hint is not None
    assert told.value.hint.endswith(f"cuecard bench vtab --resume {tmp_path}")


def test_papers_grid_and_seeds_are_the_defaults() -> None:
    settings = VtabSettings()
    assert settings.seeds == SEEDS == (42, 44, 82, 100, 800)
    assert (settings.examples, settings.selection_rows, settings.epochs) == (1000, 800, 100)
    rates, decays = GRIDS["sgd"]["lr"], GRIDS["sgd"]["weight_decay"]
    assert len(rates) * len(decays) == 40
    assert settings.sweep.grid["lr"] == tuple(rate / 4 for rate in rates)
    config = settings.training(800)
    assert (config.steps, config.warmup, config.clip) == (1300, 130, 0.0)
    assert settings.training(1000).steps == 1600
    few = VtabSettings(grid={"lr": (1.0,)}, batch_rows=128)
    assert few.sweep.grid == {"lr": (0.5,), "weight_decay": decays}
    assert VtabSettings(optimizer="adamw").sweep.grid["lr"] == GRIDS["adamw"]["lr"]
    with pytest.raises(ConfigError, match="positive number"):
        VtabSettings(grid={"lr": (0.0,)})
    for twice in ({"seeds": (42, 42)}, {"grid": {"lr": (1, 0.5, 1.0)}}):
        with pytest.raises(ConfigError, match="a value is given twice"):
            VtabSettings(**twice)


def test_data_that_is_too_small() -> None:
    task = Task.from_records(SPEC, pictures(60), split=(0.6, 0.2, 0.2))
    with pytest.raises(DataError, match="too few rows") as told:
        SealedTask.of("x", "y", task, examples=1000, selection_rows=800, test_rows=None)
    assert told.value.where == "x" and "1,000 examples" in str(told.value)


def score(group: str, *right: list[int]) -> VtabScore:
    answers = tuple(np.array(each, np.float64) for each in right)
    return VtabScore(group, group, {}, 0.5, (), (1,), answers, len(right[0]), 1, 4, 0.0)


def test_both_means_by_hand() -> None:
    scores = [score("a", [1, 1, 1, 0]), score("a", [1, 0, 0, 0]), score("b", [1, 1, 0, 0, 0])]
    assert mean_over_tasks(scores).accuracy == pytest.approx((0.75 + 0.25 + 0.4) / 3)
    assert mean_over_groups(scores).accuracy == pytest.approx(((0.75 + 0.25) / 2 + 0.4) / 2)
    limits = [mean_interval(one.right[0]) for one in scores]
    below = [one.accuracy - x.low for one, x in zip(scores, limits, strict=True)]
    weights = (0.25, 0.25, 0.5)
    wanted = math.sqrt(sum((w * x) ** 2 for w, x in zip(weights, below, strict=True)))
    found = mean_over_groups(scores)
    assert found.ci95.low == pytest.approx(found.accuracy - wanted)
    one = [score("a", [1, 1, 0, 1], [1, 0, 0, 1])]
    assert mean_over_tasks(one) == mean_over_groups(one)
    assert mean_over_tasks(one).ci95 == one[0].ci95
