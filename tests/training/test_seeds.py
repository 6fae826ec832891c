"""Several seeds of one recipe: trained in shared passes, each tested once, one prompt kept."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cuecard.artifacts import Prompt
from cuecard.errors import ConfigError, Interrupted, TrainingError
from cuecard.evaluation.evaluate import evaluate
from cuecard.evaluation.seeds import seed_notes, seed_table
from cuecard.methods import PromptTuning
from cuecard.tasks import Task
from cuecard.tasks.shots import few_shot_task
from cuecard.training import TrainConfig, read_log
from cuecard.training.config import Keep
from cuecard.training.seeds import SeedRuns, train_seeds
from cuecard.training.train import train
from support.data.head_tasks import head_task, number_task
from support.data.reviews import review_task, title_task
from support.tiny import tiny_backbone

METHOD = PromptTuning(length=4, init="text")
# Here the average of two seeds does better on validation rows than either ...
GENTLE = TrainConfig(steps=30, batch_rows=4, lr=0.02, eval_every=3, checkpoint_every=4)
# ... and here worse.
ROUGH = TrainConfig(steps=12, batch_rows=4, lr=0.1, eval_every=3, checkpoint_every=4)
CLOCKS = {"seconds", "cpu_seconds"}


def run(
    folder: Path | None = None,
    observer: Any = None,
    *,
    config: TrainConfig = ROUGH,
    keep: Keep = "best",
    seeds: int = 2,
    task: Task | None = None,
) -> SeedRuns:
    return train_seeds(
        tiny_backbone(),
        task or review_task(60),
        METHOD,
        config,
        seeds=seeds,
        keep=keep,
        folder=folder,
        observer=observer,
    )


@pytest.fixture(scope="module")
def best(tmp_path_factory: pytest.TempPathFactory) -> tuple[SeedRuns, Path]:
    """Three seeds that nothing cut; tests only read them."""
    folder = tmp_path_factory.mktemp("best")
    return run(folder, seeds=3), folder


@pytest.fixture(scope="module")
def average(tmp_path_factory: pytest.TempPathFactory) -> tuple[SeedRuns, Path]:
    """Two seeds whose average is kept; tests only read them."""
    folder = tmp_path_factory.mktemp("average")
    return run(folder, config=GENTLE, keep="average"), folder


def events(folder: Path) -> list[dict[str, Any]]:
    """A run's log without clocks."""
    return [{k: v for k, v in row.items() if k not in CLOCKS} for row in read_log(folder)]


def assert_same(cut: Path, whole: Path) -> None:
    for place in (".", *(path.relative_to(whole) for path in whole.glob("trials/*"))):
        assert Prompt.load(cut / place / "prompt").digest == (
            Prompt.load(whole / place / "prompt").digest
        )
        assert events(cut / place) == events(whole / place)
        tested = [(at / place / "predictions.jsonl").read_bytes() for at in (cut, whole)]
        assert tested[0] == tested[1]


def test_all_seeds_make_a_step_in_one_pass_and_are_tested_once() -> None:
    backbone, calls = tiny_backbone(), []
    seen: list[dict[str, Any]] = []

    def watch(event: dict[str, Any]) -> None:
        seen.append(event)
        if event["event"] == "step":
            calls.append(backbone.counts["calls"])

    config = TrainConfig(steps=4, eval_every=4)
    train_seeds(backbone, review_task(60), METHOD, config, seeds=3, observer=watch)
    assert len(calls) == 3 * 4 and calls[-1] - calls[0] == 3
    assert seen[0] | {"together": 3} == seen[0] and seen[0]["unit"] == "seed"
    assert sorted(e["trial"] for e in seen if e["event"] == "test") == [0, 1, 2]


def test_a_seeds_run_is_the_run_with_that_seed(best: tuple[SeedRuns, Path]) -> None:
    found, _ = best
    assert [one.prompt.manifest.seed for one in found.runs] == [0, 1, 2]
    alone = train(tiny_backbone(), review_task(60), METHOD, ROUGH.model_copy(update={"seed": 1}))
    assert alone.test is not None and found.runs[1].test is not None
    assert found.runs[1].validation.loss == pytest.approx(alone.validation.loss, rel=1e-4)
    assert found.runs[1].test.score == alone.test.score
    assert len({one.prompt.digest for one in found.runs}) == 3


def test_the_best_on_validation_rows_is_kept_with_the_seeds_numbers(
    best: tuple[SeedRuns, Path],
) -> None:
    found, folder = best
    place = min(range(3), key=lambda n: found.runs[n].validation.loss)
    kept, numbers = found.kept, found.numbers
    assert numbers["kept"] == kept.prompt.manifest.seed == place
    assert torch.equal(kept.prompt.vectors, found.runs[place].prompt.vectors)
    assert kept.test is not None and found.runs[place].test is not None
    assert kept.test.score == found.runs[place].test.score
    scores = [one.test.score for one in found.runs if one.test is not None]
    assert numbers["scores"] == scores and numbers["metric"] == "accuracy"
    assert numbers["accuracy"] == pytest.approx(sum(scores) / 3)
    low, high = numbers["ci95"]["accuracy"]
    assert low < min(scores) and max(scores) < high
    assert kept.tokens == pytest.approx(sum(one.tokens for one in found.runs), abs=3)
    saved = Prompt.load(folder / "prompt", tiny_backbone())
    assert saved.digest == kept.prompt.digest
    assert saved.manifest.metrics["seeds"] == numbers
    # The rest of its metrics is what a run of this seed alone has.
    assert {k: v for k, v in saved.manifest.metrics.items() if k != "seeds"} == (
        found.runs[place].prompt.manifest.metrics
    )
    assert read_log(folder)[-1]["event"] == "done"


def test_finished_seeds_are_not_trained_or_tested_again(best: tuple[SeedRuns, Path]) -> None:
    found, folder = best
    backbone = tiny_backbone()
    seen: list[dict[str, Any]] = []
    again = train_seeds(
        backbone, review_task(60), METHOD, ROUGH, seeds=3, folder=folder, observer=seen.append
    )
    assert again.kept.prompt.digest == found.kept.prompt.digest
    assert again.kept.cpu_seconds == found.kept.cpu_seconds
    names = [event["event"] for event in seen]
    assert not {"step", "validation", "test"} & {*names} and names[-1] == "finished"
    with pytest.raises(TrainingError, match="other settings"):
        run(folder, seeds=2)


def test_an_average_is_kept_where_validation_rows_say_so(average: tuple[SeedRuns, Path]) -> None:
    found, folder = average
    numbers = found.numbers
    assert numbers["kept"] == "average"
    assert numbers["average"]["validation_loss"] == found.kept.validation.loss
    assert found.kept.validation.loss <= min(numbers["validation_losses"])
    mean = torch.stack([one.prompt.vectors for one in found.runs]).mean(0)
    torch.testing.assert_close(found.kept.prompt.vectors, mean)
    task, manifest = review_task(60), found.kept.prompt.manifest
    tested = evaluate(
        tiny_backbone(), task.spec, task.test, found.kept.prompt.injection(), prior=manifest.prior
    )
    assert numbers["average"]["score"] == tested.score
    assert [row["event"] for row in read_log(folder)[-3:]] == ["average", "test", "done"]
    seen: list[str] = []
    again = run(folder, lambda event: seen.append(event["event"]), config=GENTLE, keep="average")
    assert again.kept.prompt.digest == found.kept.prompt.digest
    assert not {"average", "test"} & {*seen}
    columns, rows = seed_table(numbers, "accuracy")
    assert columns[0] == "seed" and [row[0] for row in rows] == [
        "0",
        "1",
        "their average",
        "mean of 2",
    ]
    assert [row[-1] for row in rows] == ["", "", "kept", ""]
    assert any("the average of all seeds" in note for note in seed_notes(numbers, "accuracy"))


def test_an_average_that_does_worse_is_not_kept(tmp_path: Path) -> None:
    found = run(tmp_path, keep="average")
    numbers = found.numbers
    assert numbers["average"]["validation_loss"] > min(numbers["validation_losses"])
    assert numbers["kept"] == 1 and "score" not in numbers["average"]
    assert torch.equal(found.kept.prompt.vectors, found.runs[1].prompt.vectors)
    assert any("did worse there" in note for note in seed_notes(numbers, "accuracy"))
    seen: list[str] = []
    again = run(tmp_path, lambda event: seen.append(event["event"]), keep="average")
    assert again.kept.prompt.digest == found.kept.prompt.digest and "average" not in seen


def test_starts_that_a_seed_draws_are_not_averaged() -> None:
    backbone, task = tiny_backbone(), review_task(60)
    drawn = PromptTuning(length=4, init="random")
    with pytest.raises(ConfigError, match="start apart cannot be averaged"):
        train_seeds(backbone, task, drawn, ROUGH, seeds=2, keep="average")


class _Killed(Exception):
    """Stands for a death between two lines of code."""


def test_dying_changes_nothing(tmp_path: Path, average: tuple[SeedRuns, Path]) -> None:
    """In the steps, between two seeds' tests, and at every event of what is kept."""
    for name, trial, count in (
        ("step", 0, 6),
        ("step", 1, 14),
        ("test", 1, 1),
        ("average", None, 1),
        ("test", None, 1),
        ("done", None, 1),
    ):
        left = [count]

        def die(
            event: dict[str, Any],
            at: tuple[str, int | None] = (name, trial),
            left: list[int] = left,
        ) -> None:
            left[0] -= (event["event"], event.get("trial")) == at
            if left[0] == 0:
                raise _Killed

        with pytest.raises(_Killed):
            run(tmp_path / "cut", die, config=GENTLE, keep="average")
    run(tmp_path / "cut", config=GENTLE, keep="average")
    assert_same(tmp_path / "cut", average[1])


@pytest.mark.parametrize(
    ("event", "said"),
    [("step", "stopped with 0 of 3 seeds finished"), ("test", "3 of 3 seeds finished")],
)
def test_ctrl_c_saves_and_says_how_to_resume(
    tmp_path: Path, event: str, said: str, best: tuple[SeedRuns, Path]
) -> None:
    def stop(seen: dict[str, Any]) -> None:
        if seen["event"] == event and seen["trial"] == 1:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match=said) as stopped:
        run(tmp_path / "cut", stop, seeds=3)
    assert f"cuecard train --resume {tmp_path / 'cut'}" in str(stopped.value)
    assert not (tmp_path / "cut" / "prompt").exists()
    run(tmp_path / "cut", seeds=3)
    assert_same(tmp_path / "cut", best[1])


def test_a_seed_that_diverges_is_named() -> None:
    hot = ROUGH.model_copy(update={"lr": 1e30, "weight_decay": 1.0, "warmup": 0})
    with pytest.raises(TrainingError, match="diverged with one of the seeds") as error:
        run(config=hot)
    assert error.value.where is not None and error.value.where.startswith("seed 0, step ")


@pytest.mark.parametrize("seeds", [1, 0, -1])
def test_fewer_than_two_seeds_are_refused(seeds: int) -> None:
    with pytest.raises(ConfigError, match="takes several"):
        run(seeds=seeds)


def test_a_rate_to_be_found_is_refused() -> None:
    with pytest.raises(ConfigError, match="one learning rate"):
        run(config=ROUGH.model_copy(update={"lr": "auto"}))


@pytest.mark.parametrize(
    ("task", "metric"), [(head_task, "accuracy"), (number_task, "r2"), (title_task, "rouge_l")]
)
def test_other_kinds_are_told_by_the_metric_of_their_reports(task: Any, metric: str) -> None:
    found = run(config=TrainConfig(steps=2), task=task(60), keep="average")
    numbers = found.numbers
    assert numbers["metric"] == metric and len(numbers["scores"]) == 2
    low, high = numbers["ci95"][metric]
    assert low <= numbers[metric] <= high
    assert json.loads(json.dumps(numbers)) == numbers


def test_without_test_rows_only_validation_is_told(tmp_path: Path) -> None:
    found = run(tmp_path, config=TrainConfig(steps=2), task=replace(review_task(60), test=()))
    numbers = found.numbers
    assert numbers["scores"] == [] and found.kept.test is None
    _, rows = seed_table(numbers, "accuracy")
    assert len(rows) == 2 and [row[1] for row in rows] == ["-", "-"]
    (note,) = seed_notes(numbers, "accuracy")
    assert "on validation rows" in note


def test_each_seed_trains_and_chooses_on_rows_of_its_own() -> None:
    task = review_task(150)
    seen: list[dict[str, Any]] = []
    config = ROUGH.model_copy(update={"steps": 4, "eval_every": 2})
    found = train_seeds(
        tiny_backbone(), task, METHOD, config, seeds=3, shots=6, observer=seen.append
    )
    assert found.numbers["seeds"] == [13, 21, 42] and found.numbers["shots"] == 6
    assert [event["rows"]["train"] for event in seen if event["event"] == "start"] == [12] * 3
    assert [event["event"] for event in seen].count("test") == 3
    hashes = [one.prompt.manifest.data_hash for one in found.runs]
    assert hashes == [found.tasks[seed].report.data_hash for seed in (13, 21, 42)]
    assert len({*hashes}) == 3 and found.kept.prompt.manifest.data_hash in hashes
    drawn = few_shot_task(task, 6, 21)
    alone = train(tiny_backbone(), drawn, METHOD, config.model_copy(update={"seed": 21}))
    assert alone.test is not None and found.runs[1].test is not None
    assert found.runs[1].validation.loss == pytest.approx(alone.validation.loss, rel=1e-4)
    assert found.runs[1].test.records == alone.test.records
    (_, _, kept) = seed_notes(found.numbers, "accuracy")
    assert kept.endswith("the best on its own validation rows.")


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"seeds": 6}, "seeds"),
        ({"seeds": 2, "config": TrainConfig(seed=3)}, "training.seed"),
        ({"seeds": 2, "keep": "average"}, "keep"),
    ],
)
def test_draws_are_those_of_the_protocol(settings: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as error:
        train_seeds(tiny_backbone(), review_task(60), METHOD, shots=4, **settings)
    assert error.value.where == where
