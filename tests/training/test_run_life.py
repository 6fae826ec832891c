"""The life of a run: stopped anywhere, gone on with, finished once."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import cuecard.training.setup as training_setup
from cuecard.comparison.reports import report_run
from cuecard.errors import Interrupted, TrainingError
from cuecard.interrupts import Stop, heeding, may_cut
from cuecard.methods import MPT, PromptTuning
from cuecard.tasks import Task
from cuecard.training import LoraSettings, SweepConfig, TrainConfig, read_log
from cuecard.training.multitask import multitask
from cuecard.training.sweep import sweep
from cuecard.training.train import train
from cuecard.training.train_lora import train_lora
from support.data.head_tasks import number_task
from support.data.reviews import review_task, title_task
from support.tiny import tiny_backbone

METHOD = PromptTuning(length=3, init="random")
CONFIG = TrainConfig(steps=6, batch_rows=8, eval_every=3, checkpoint_every=2)


def run_train(folder: Path, observer: Any, task: Task | None = None) -> Any:
    return train(
        tiny_backbone(), task or review_task(60), METHOD, CONFIG, folder=folder, observer=observer
    )


def run_lora(folder: Path, observer: Any) -> Any:
    settings = LoraSettings(rank=2, targets=("q_proj",))
    backbone = tiny_backbone()
    return train_lora(backbone, review_task(60), settings, CONFIG, folder=folder, observer=observer)


def run_sweep(folder: Path, observer: Any) -> Any:
    space = SweepConfig(grid={"lr": (0.1, 0.01)})
    return sweep(
        tiny_backbone(), review_task(60), space, METHOD, CONFIG, folder=folder, observer=observer
    ).run


def run_multitask(folder: Path, observer: Any) -> Any:
    tasks = {"one": review_task(40), "two": review_task(60)}
    method = MPT(length=2, init="random")
    return multitask(
        tiny_backbone(), tasks, method, CONFIG, distil=0.0, folder=folder, observer=observer
    ).runs["two"]


RUNS = {"train": run_train, "lora": run_lora, "sweep": run_sweep, "multitask": run_multitask}


def pressing(event: str, count: int = 1) -> Any:
    """An observer that presses Ctrl-C at the event of this name."""
    left = [count]

    def watch(found: dict[str, Any]) -> None:
        if found["event"] == event:
            left[0] -= 1
            if left[0] == 0:
                signal.raise_signal(signal.SIGINT)

    return watch


@pytest.mark.parametrize("how", RUNS)
def test_stopped_in_its_test_and_gone_on_with(
    how: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = RUNS[how]
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted) as stopped:
        run(tmp_path / "cut", pressing("progress"))
    assert signal.getsignal(signal.SIGINT) is before
    assert stopped.value.exit_code == 130
    assert f"--resume {tmp_path / 'cut'}" in str(stopped.value.hint)
    assert "press Ctrl-C again" in capfd.readouterr().err
    steps: list[str] = []
    again = run(tmp_path / "cut", lambda event: steps.append(event["event"]))
    assert "step" not in steps and "test" in steps
    assert again.prompt.digest == run(tmp_path / "whole", None).prompt.digest


@pytest.mark.parametrize("how", RUNS)
def test_a_finished_run_is_read_and_not_tested_again(how: str, tmp_path: Path) -> None:
    run = RUNS[how]
    first = run(tmp_path, None)
    logs = {path: path.read_bytes() for path in tmp_path.rglob("log.jsonl")}
    events: list[str] = []
    again = run(tmp_path, lambda event: events.append(event["event"]))
    assert "finished" in events
    assert not {"start", "step", "validation", "test", "progress", "done"} & set(events)
    assert {path: path.read_bytes() for path in tmp_path.rglob("log.jsonl")} == logs
    assert again.prompt.digest == first.prompt.digest
    assert again.test.to_dict() == first.test.to_dict()
    assert again.validation == first.validation
    assert (again.lr, again.steps, again.trained) == (first.lr, first.steps, first.trained)


def test_a_result_that_was_cut_off_is_made_anew(tmp_path: Path) -> None:
    first = run_train(tmp_path, None)
    for name in ("result.json", "predictions.jsonl", "prompt/prompt.json"):
        kept = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(kept[: len(kept) // 2])
        events: list[str] = []
        again = run_train(tmp_path, lambda event, seen=events: seen.append(event["event"]))
        assert "test" in events and "finished" not in events
        assert again.prompt.digest == first.prompt.digest


@pytest.mark.parametrize("looks", [1, 2])
def test_stopped_in_a_validation_and_gone_on_with(
    looks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look that was cut off is made first when the run goes on; nothing else differs."""
    real, left = training_setup.validate, [looks]

    def cut(*given: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            signal.raise_signal(signal.SIGINT)
        return real(*given, **options)

    monkeypatch.setattr(training_setup, "validate", cut)
    with pytest.raises(Interrupted, match=f"after step {3 * (looks - 1)} of 6"):
        run_train(tmp_path / "cut", None)
    monkeypatch.setattr(training_setup, "validate", real)
    cut_run, whole = run_train(tmp_path / "cut", None), run_train(tmp_path / "whole", None)
    assert torch.equal(cut_run.prompt.vectors, whole.prompt.vectors)

    def timeless(folder: str) -> list[dict[str, Any]]:
        clocks = ("seconds", "cpu_seconds")
        rows = read_log(tmp_path / folder)
        return [{k: v for k, v in row.items() if k not in clocks} for row in rows]

    assert timeless("cut") == timeless("whole")


@pytest.fixture
def as_usual() -> Iterator[None]:
    """SIGINT as an interactive shell leaves it; a job in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("as_usual")
def test_what_may_not_be_cut_ends_first_and_the_second_press_ends_all() -> None:
    with heeding() as interrupts:
        signal.raise_signal(signal.SIGINT)
        assert interrupts.asked
        with pytest.raises(Stop), may_cut():
            pass
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with may_cut(), pytest.raises(KeyboardInterrupt):  # nobody heeds: as usual
        signal.raise_signal(signal.SIGINT)


def test_how_long_an_answer_may_be_is_no_part_of_a_run(tmp_path: Path) -> None:
    task = title_task(40)
    shorter = replace(task, spec=task.spec.model_copy(update={"max_new_tokens": 2}))
    with pytest.raises(Interrupted):
        run_train(tmp_path, pressing("step", 4), task)
    events: list[dict[str, Any]] = []
    run_train(tmp_path, events.append, shorter)
    assert next(e for e in events if e["event"] == "resume")["step"] == 4
    again: list[str] = []
    run_train(tmp_path, lambda e: again.append(e["event"]), task)
    assert "test" in again and "step" not in again  # the test alone, with longer answers
    other = replace(task, spec=task.spec.model_copy(update={"template": "{text}\nShort:"}))
    with pytest.raises(TrainingError, match="another task"):
        run_train(tmp_path, None, other)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_a_number_with_few_test_rows_is_reported(rows: int, tmp_path: Path) -> None:
    task = number_task(40)
    task = replace(task, test=task.test[:rows])
    run = run_train(tmp_path, None, task)
    backbone = tiny_backbone()
    proof = report_run(backbone, task, run, tmp_path, title="numbers", resume="")
    assert (proof is None) is (rows == 0)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["test_rows"] == rows
    assert (tmp_path / "figures" / "training.png").is_file()


def test_a_report_without_comparison_and_a_comparison_that_is_kept(tmp_path: Path) -> None:
    task, backbone = review_task(60), tiny_backbone()
    run = train(backbone, task, METHOD, CONFIG, folder=tmp_path)

    def report(**options: Any) -> Any:
        events: list[str] = []
        proof = report_run(
            backbone,
            task,
            run,
            tmp_path,
            title="reviews",
            resume="",
            observer=lambda event: events.append(event["event"]),
            **options,
        )
        return proof, events

    proof, events = report(compare=False)
    assert proof is None and not events
    text = (tmp_path / "report.md").read_text().replace("\\", "")
    assert "trained: prompt-tuning" in text and "majority" not in text
    assert f"Parameters: trained {3 * 32:,} of " in text
    assert (tmp_path / "figures" / "confusion.png").is_file()
    assert len((tmp_path / "predictions.jsonl").read_text().splitlines()) == len(task.test)
    first, events = report(demonstrations=[2])
    assert "baseline" in events
    again, events = report(demonstrations=[2])
    assert not events and again.rows == first.rows and again.notes == first.notes
    assert "baseline" in report(demonstrations=[])[1]
    with pytest.raises(Interrupted, match="before the end of the comparison"):
        report_run(
            backbone, task, run, tmp_path, title="r", resume="", observer=pressing("baseline")
        )
