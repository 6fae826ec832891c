"""One run on two processes (Gloo) is the run of one, up to rounding; and what goes wrong in it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cuecard.errors import Interrupted
from cuecard.training import read_log
from cuecard.training.train import train_prompt
from support.two_processes import METHOD, run_alone, setup_of

# 21 training rows in batches of 5: the last batch of an epoch has one row, and a process none.
CONFIG = {"steps": 8, "batch_rows": 5, "eval_every": 4, "checkpoint_every": 3}
# In float32: sums of a batch's rows are rounded in another order.
NEARLY = {"atol": 2e-6, "rtol": 2e-4}

Pair = Callable[..., tuple[str, str]]


def asking(task: str = "tokens", **settings: Any) -> dict[str, Any]:
    return {"task": task, "config": {**CONFIG, **settings}}


def steps_of(folder: Path) -> list[dict[str, Any]]:
    return [event for event in read_log(folder) if event["event"] == "step"]


@pytest.mark.parametrize(
    "asked",
    [asking("tokens"), asking("labels", accumulation=2), asking("head"), asking(lr="auto")],
    ids=["tokens", "labels, accumulated", "head", "chosen rate"],
)
def test_two_are_as_one(pair: Pair, asked: dict[str, Any], tmp_path: Path) -> None:
    assert pair(tmp_path / "two", **asked) == ("done", "done")
    one = run_alone(asked, tmp_path / "one")
    two = run_alone(asked, tmp_path / "two")  # reads what the two have left
    assert len(steps_of(tmp_path / "two")) == CONFIG["steps"]
    assert (two.lr, two.steps, two.best_step) == (one.lr, one.steps, one.best_step)
    torch.testing.assert_close(two.prompt.vectors, one.prompt.vectors, **NEARLY)
    for ours, theirs in zip(steps_of(tmp_path / "two"), steps_of(tmp_path / "one"), strict=True):
        assert ours["targets"] == theirs["targets"]
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-4)


def test_the_folder_is_the_first_ones_and_what_is_sent_is_small(pair: Pair, tmp_path: Path) -> None:
    assert pair(tmp_path / "two", **asking()) == ("done", "done")
    start = next(event for event in read_log(tmp_path / "two") if event["event"] == "start")
    assert start["processes"] == 2
    prompt = start["trained_parameters"] * 4
    # The gradient, and a dozen numbers beside it.
    later = [step["sent_bytes"] for step in steps_of(tmp_path / "two")[1:]]
    assert all(prompt <= sent <= 2 * prompt + 100 for sent in later), later
    events = [event["event"] for event in read_log(tmp_path / "two")]
    assert events.count("validation") == 3 and events.count("done") == 1


@pytest.mark.parametrize("first", ["one", "two"])
def test_resumed_with_another_number_of_processes(pair: Pair, first: str, tmp_path: Path) -> None:
    asked, cut = asking(), tmp_path / "cut"
    whole = run_alone(asked)
    if first == "two":
        for said in pair(cut, **asked, stop=5):
            assert said.startswith("Interrupted: stopped after step 5 of 8")
    else:
        with pytest.raises(Interrupted, match="after step 5 of 8"):
            train_prompt(setup_of(asked), METHOD, folder=cut, observer=pressing_at(5))
        assert pair(cut, **asked) == ("done", "done")
    resumed = run_alone(asked, cut)
    torch.testing.assert_close(resumed.prompt.vectors, whole.prompt.vectors, **NEARLY)
    assert [step["step"] for step in steps_of(cut)] == [*range(1, 9)]
    assert [("sent_bytes" in step) for step in steps_of(cut)] == (
        [True] * 5 + [False] * 3 if first == "two" else [False] * 5 + [True] * 3
    )


def test_a_killed_process_ends_the_run_which_then_resumes(pair: Pair, tmp_path: Path) -> None:
    asked, cut = asking(), tmp_path / "cut"
    said, nothing = pair(cut, **asked, kill=4)
    assert nothing == "" and said.startswith("TrainingError: another process of the run was lost")
    assert len(steps_of(cut)) < CONFIG["steps"] and (cut / "checkpoint.pt").is_file()
    assert pair(cut, **asked) == ("done", "done")
    found, whole = run_alone(asked, cut), run_alone(asked)
    torch.testing.assert_close(found.prompt.vectors, whole.prompt.vectors, **NEARLY)


def test_processes_with_other_rows_are_refused(pair: Pair, tmp_path: Path) -> None:
    first, second = pair(tmp_path / "run", **asking(), rows=[35, 40])
    assert "this process would train another run" in second and "another data" in second
    assert first.startswith("TrainingError: another process of the run was lost")


def pressing_at(step: int) -> Callable[[dict[str, Any]], None]:
    def watch(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == step:
            signal.raise_signal(signal.SIGINT)

    return watch
