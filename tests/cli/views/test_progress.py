"""What a run and a download look like on a terminal, elsewhere and to machines."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cuecard.cli.views.event_text import text_of_part
from cuecard.cli.views.progress import TrainView, fetch_progress, rows_progress
from cuecard.comparison.prove import prove
from cuecard.methods import PromptTuning
from cuecard.training import TrainConfig
from cuecard.training.train import train
from support.data.reviews import review_task
from support.tiny import tiny_backbone

CONTROL = "\x1b"


def plain_console() -> Console:
    return Console(file=io.StringIO(), width=100)


def terminal() -> Console:
    return Console(
        file=io.StringIO(),
        width=100,
        force_terminal=True,
        force_interactive=True,
        highlight=False,
    )


def text(out: Console) -> str:
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


@pytest.fixture(scope="module")
def events() -> list[dict[str, Any]]:
    """Those of a real run with a sweep and a comparison."""
    found: list[dict[str, Any]] = []
    backbone, task = tiny_backbone(), review_task(60)
    method = PromptTuning(length=4, init="random")
    config = TrainConfig(steps=20, batch_rows=4, eval_every=10, lr="auto")
    run = train(backbone, task, method, config, observer=found.append)
    prove(backbone, task, run, demonstrations=(), observer=found.append)
    return found


def show(events: list[dict[str, Any]], out: Console) -> str:
    with TrainView(out=out) as view:
        for event in events:
            view(event)
    return text(out)


def test_a_part_of_a_run_is_named(events: list[dict[str, Any]]) -> None:
    out = plain_console()
    done = next(event for event in events if event["event"] == "done")
    with TrainView(text_of_part, out=out) as view:
        view({**done, "run": "training/titles"})
        view(done)
    part, whole = (line for line in text(out).splitlines() if "Trained in" in line)
    assert part.startswith("titles: Trained in") and whole.startswith("Trained in")


def test_plain_lines(events: list[dict[str, Any]]) -> None:
    shown = show(events, plain_console())
    lines = shown.splitlines()
    assert CONTROL not in shown and "\r" not in shown
    assert lines[0].startswith("Training prompt-tuning on tiny-llama (cpu, float32): ")
    assert "20 steps" in lines[0] + lines[1]
    assert sum(line.startswith("Learning rate") for line in lines) == 3
    steps = [line for line in lines if re.match(r"Step \d+/20: loss \d", line)]
    assert [line.split(":")[0] for line in steps] == ["Step 10/20", "Step 20/20"]
    assert re.search(r"[\d.]+ steps/s, \d+ s left$", steps[0])
    looks = [line for line in lines if re.match(r"Step \d+: validation accuracy 0\.\d+", line)]
    assert [line.split(":")[0] for line in looks] == ["Step 0", "Step 10", "Step 20"]
    assert looks[0].endswith(", best so far")
    assert any(re.match(r"Testing on \d+ rows", line) for line in lines)
    assert any(line.startswith("Trained in ") for line in lines)
    tried = r"  \d+ of \d+, hand-written: .*: [01]\.\d{3} on \d+ validation rows"
    assert any(re.match(tried, line) for line in lines)
    assert any(line.startswith("Comparing with hand-written: ") for line in lines)
    assert any(line.startswith("Comparing with TF-IDF") for line in lines)


def test_terminal_draws_a_bar_and_leaves_the_lines(events: list[dict[str, Any]]) -> None:
    shown = show(events, terminal())
    assert CONTROL in shown
    assert re.search(r"20/20.*loss.*valid.*\*.*steps/s.*left", re.sub(r"\x1b\[[\d;]*m", "", shown))
    assert "Step 10/20: loss" not in shown
    assert "Step 10: validation accuracy" in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") > 0  # the cursor is given back


def test_an_error_gives_the_terminal_back(events: list[dict[str, Any]]) -> None:
    out = terminal()

    def broken_off() -> None:
        with TrainView(out=out) as view:
            for event in events[:12]:
                view(event)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert text(out).count("\x1b[?25l") == text(out).count("\x1b[?25h") > 0


def test_json_is_the_log(events: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    with TrainView(json=True) as view:
        for event in events:
            view(event)
    told = [event for event in events if event["event"] != "progress"]
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == told


def test_a_run_that_goes_on() -> None:
    out = plain_console()
    view = TrainView(out=out)
    view({"event": "resume", "step": 118, "steps": 128})
    step = {"event": "step", "loss": 0.5, "lr": 0.1, "grad_norm": 1.0, "targets": 8, "seconds": 0.5}
    view(step | {"step": 119})
    view(step | {"step": 120})
    view(
        {
            "event": "validation",
            "step": 120,
            "validation_loss": 0.7,
            "validation_accuracy": 0.5,
            "majority_share": 1.0,
            "best": False,
        }
    )
    first, second, third, fourth = text(out).splitlines()
    assert first == "Resuming after step 118 of 128"
    assert second.startswith("Step 120/128: loss 0.500, ")
    assert third == "Step 120: validation accuracy 0.500, loss 0.7000"
    assert fourth == "  100% of its answers are one and the same label"


def test_a_finished_run_tells_that_it_is(tmp_path: Path) -> None:
    task, method = review_task(60), PromptTuning(length=4, init="random")
    config = TrainConfig(steps=4, batch_rows=4, eval_every=2)
    train(tiny_backbone(), task, method, config, folder=tmp_path)
    before = (tmp_path / "log.jsonl").read_text()
    out = plain_console()
    train(tiny_backbone(), task, method, config, folder=tmp_path, observer=TrainView(out=out))
    said = " ".join(text(out).split())
    assert said.endswith("is finished; nothing was trained or tested again")
    # Its log is that of a run in one piece.
    assert [json.loads(line)["event"] for line in before.splitlines()] == [
        json.loads(line)["event"] for line in (tmp_path / "log.jsonl").read_text().splitlines()
    ]


def test_texts_and_alarms() -> None:
    out = plain_console()
    view = TrainView(out=out)
    look = {
        "event": "validation",
        "validation_accuracy": None,
        "majority_share": None,
        "best": True,
    }
    view(look | {"step": 4, "validation_loss": 1.25})
    view({"event": "lr", "lr": 0.5, "loss": None, "steps": 20})
    done = {"event": "done", "step": 9, "best_step": 4, "lr": 0.5, "digest": "0", "alarm": "weak"}
    view(done | {"cpu_seconds": 5000.0, "seconds": 3725.0})
    lines = text(out).splitlines()
    assert lines[0] == "Step 4: validation loss 1.2500, best so far"
    assert lines[1] == "Learning rate 0.5: diverged after 20 steps"
    assert "Trained in 1 h 02 min" in lines[2]
    assert lines[-1] == "Warning: weak"


@pytest.mark.parametrize("json_lines", [False, True])
def test_how_far_a_test_is_is_said_every_few_seconds(
    json_lines: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    out, now = plain_console(), [0.0]
    with TrainView(json=json_lines, out=out, clock=lambda: now[0]) as view:
        view({"event": "test", "rows": 90})
        for done in range(10, 91, 10):
            now[0] += 2
            view({"event": "progress", "what": "testing", "done": done, "total": 90})
    said = capsys.readouterr().out if json_lines else text(out)
    assert [word for word in ("30", "60", "90") if word in said] == ["30", "60", "90"]
    assert "testing" in said and "40" not in said and "50" not in said


def test_a_terminal_shows_how_far_a_test_is() -> None:
    out = terminal()
    with TrainView(out=out) as view:
        view({"event": "test", "rows": 90})
        view({"event": "progress", "what": "testing", "done": 32, "total": 90})
        time.sleep(0.2)  # the spinner draws itself
    assert "testing: 32 of 90 rows" in text(out)


def test_an_unknown_event_is_not_shown() -> None:
    out = plain_console()
    TrainView(out=out)({"event": "novelty"})
    assert text(out) == ""


def test_fetching_in_plain_lines_is_told_by_tenths() -> None:
    out = plain_console()
    with fetch_progress(out=out) as progress:
        progress("Waiting for another process: it", 0, 0)
        for done in range(0, 1001, 7):
            progress("Downloading it", done, 1000)
        for _ in range(3):
            progress("Downloading it", 1000, 1000)
        progress("Converting it", 1, 2)
    lines = text(out).splitlines()
    assert lines[0] == "Waiting for another process: it"
    assert lines[1:-1] == [f"Downloading it: {tenth}%" for tenth in range(0, 101, 10)]
    assert lines[-1] == "Converting it: 50%"
    assert CONTROL not in text(out)


def test_fetching_on_a_terminal_draws_one_bar_for_each_thing() -> None:
    out = terminal()
    with fetch_progress(out=out) as progress:
        for done in (0, 50, 100, 100, 100):
            progress("Downloading it", done, 100)
        progress("Converting it", 1, 2)
    assert text(out).count("\x1b[?25l") == text(out).count("\x1b[?25h") == 2
    assert "100%" in text(out) and "Converting it" in text(out)


def test_fetching_as_json_leaves_standard_output_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with fetch_progress(json=True) as progress:
        progress("Downloading it", 5, 10)
        progress("Downloading it", 5, 10)
    seen = capsys.readouterr()
    assert seen.out == ""
    (line,) = seen.err.splitlines()
    assert json.loads(line) == {
        "event": "progress",
        "what": "Downloading it",
        "done": 5,
        "total": 10,
    }


def test_rows_add_up(capsys: pytest.CaptureFixture[str]) -> None:
    with rows_progress("Answering", 4) as more:
        assert more is not None
        more(1)
        more(3)
    assert capsys.readouterr().err.splitlines() == [
        "Answering: 0%",
        "Answering: 20%",
        "Answering: 100%",
    ]


def test_few_rows_need_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with rows_progress("Answering", 4, least=5) as more:
        assert more is None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("first", "status"), [("start", "validating"), ("race", "racing")])
def test_cached_inputs_do_not_change_what_is_being_done(
    events: list[dict[str, Any]], first: str, status: str
) -> None:
    race = {"event": "race", "budget": "30 steps", "contestants": ["a", "b"], "steps": 5}
    begin = race if first == "race" else next(e for e in events if e["event"] == "start")
    inputs = {"event": "inputs", "place": "memory", "tokens": 5, "bytes": 2**20}
    out = terminal()
    with TrainView(out=out) as view:
        view(begin)
        view(inputs)
        time.sleep(0.2)  # the status is drawn a few times a second
    after = text(out).split("computed once", 1)[1]
    assert status in after and ({"validating", "racing"} - {status}).isdisjoint(after.split())
