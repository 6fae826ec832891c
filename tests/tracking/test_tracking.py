"""Events on their way to trackers: each number once, and no error that ends a run."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cuecard.errors import ConfigError, CuecardWarning, DataError
from cuecard.tracking import TRACKERS, Tracking, check_installed, replay, runs_in
from cuecard.tracking.readings import Reading
from cuecard.tracking.sent import FILE
from cuecard.tracking.trackers import TrackerKind

RUNS = Path(__file__).parents[1] / "compatibility" / "fixtures" / "runs"


@dataclass
class Board:
    """A tracker in memory, which can fail at a number of its calls."""

    runs: dict[str, list[Reading]] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    ended: list[tuple[str, bool]] = field(default_factory=list)
    place: str = "memory"
    fails_at: int | None = None
    calls: int = 0

    def open(self, run: str, known: str | None) -> BoardRun:
        assert not run or "id of " in self.runs
        self.runs.setdefault(known or f"id of {run}", [])
        return BoardRun(self, known or f"id of {run}")

    def has(self, run: str, known: str) -> bool:
        return known in self.runs

    def numbers(self) -> int:
        return sum(len(one.values) for found in self.runs.values() for one in found)


@dataclass
class BoardRun:
    board: Board
    id: str

    def write_settings(self, values: Mapping[str, Any]) -> None:
        assert self.id not in self.board.settings
        self.board.settings[self.id] = dict(values)

    def write(self, readings: Sequence[Reading]) -> None:
        self.board.calls += 1
        sys.stdout.write("a tracker that talks\n")
        if self.board.calls == self.board.fails_at:
            raise ConnectionError("the board is\ngone")
        self.board.runs[self.id] += readings

    def close(self, *, failed: bool) -> None:
        self.board.ended.append((self.id, failed))


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Board:
    made = Board()
    kind = TrackerKind(("json",), lambda folder, package: made)
    monkeypatch.setattr("cuecard.tracking.sender.TRACKERS", {**TRACKERS, "trackio": kind})
    monkeypatch.setattr("cuecard.tracking.trackers.TRACKERS", {**TRACKERS, "trackio": kind})
    return made


def events(steps: int) -> list[dict[str, Any]]:
    train = [{"event": "step", "step": n, "loss": 1 / n} for n in range(1, steps + 1)]
    start = {"event": "start", "method": "prompt-tuning", "config": {"lr": 0.1}}
    return [start, *train, {"event": "validation", "step": steps, "validation_loss": 0.5}]


def track(folder: Path, rows: Sequence[dict[str, Any]], **options: Any) -> None:
    with Tracking(["trackio"], folder, **options) as tracking:
        for row in rows:
            tracking(row)


def test_observers_and_trackers_get_every_event(board: Board, tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    track(tmp_path, events(3), settings={"a": {"b": 1}}, observer=seen.append)
    assert seen == events(3)
    assert [(one.step, dict(one.values)) for one in board.runs["id of "]] == [
        (1, {"train/loss": 1.0}),
        (2, {"train/loss": 0.5}),
        (3, {"train/loss": 1 / 3}),
        (3, {"validation/loss": 0.5}),
    ]
    assert board.settings["id of "] == {"a.b": 1, "method": "prompt-tuning", "config.lr": 0.1}
    assert board.ended == [("id of ", False)]


def test_a_resumed_run_sends_what_is_new(board: Board, tmp_path: Path) -> None:
    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "stop":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        track(tmp_path, [*events(3), {"event": "stop"}], observer=stop)
    track(tmp_path, events(5)[2:])  # from the checkpoint after the first step
    steps = [one.step for one in board.runs["id of "] if "train/loss" in one.values]
    assert steps == [1, 2, 3, 4, 5]
    assert board.ended == [("id of ", True), ("id of ", False)]


def test_what_a_tracker_prints_is_no_output_of_ours(
    board: Board, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    track(tmp_path, events(1))
    printed = capsys.readouterr()
    assert printed.out == "" and "talks" in printed.err


def test_a_tracker_that_fails_is_left_alone(board: Board, tmp_path: Path) -> None:
    board.fails_at = 2
    seen: list[dict[str, Any]] = []
    rows = events(2) + events(4) + events(6)
    with pytest.warns(CuecardWarning, match="trackio takes no more.*the board is gone") as told:
        track(tmp_path, rows, observer=seen.append)
    assert len(told) == 1
    assert seen == rows
    assert board.calls == 2
    # What it did not take is sent later, and nothing else.
    before = board.numbers()
    track(tmp_path, events(6))
    assert (before, board.numbers()) == (3, 3 + 4 + 1)


def test_a_run_that_is_replayed_twice_adds_nothing(board: Board, tmp_path: Path) -> None:
    folder = shutil.copytree(RUNS / "sweep", tmp_path / "sweep")
    (first,) = replay(folder, ["trackio"])
    (second,) = replay(folder, ["trackio"])
    assert first.error is None and first.known == 0
    assert set(board.runs) == {"id of ", "id of trials/000", "id of trials/001"}
    assert first.sent == board.numbers() > 100
    assert (second.sent, second.known) == (0, first.sent)
    final = next(one for one in board.runs["id of "] if "final/test" in one.values)
    assert final.values["final/test"] == 0.75


def test_a_race_in_a_folder_of_its_own_is_the_runs(board: Board, tmp_path: Path) -> None:
    raced = {"event": "raced", "contestant": "a", "loss": 0.5, "steps": 3}
    lora = [{"run": "race/lora", **event} for event in events(2)]
    track(tmp_path, [raced, *lora, *events(4)])
    sent = board.numbers()
    for folder, rows in (("", events(4)), ("race", [raced]), ("race/lora", events(2))):
        (tmp_path / folder).mkdir(exist_ok=True)
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        (tmp_path / folder / "log.jsonl").write_text(lines)
    (found,) = replay(tmp_path, ["trackio"])
    assert (found.sent, found.known) == (0, sent)
    assert set(board.runs) == {"id of ", "id of race/lora"}


def test_what_went_elsewhere_or_was_removed_is_sent_again(board: Board, tmp_path: Path) -> None:
    folder = shutil.copytree(RUNS / "reviews", tmp_path / "reviews")
    (first,) = replay(folder, ["trackio"])
    board.runs.clear()
    board.settings.clear()
    (second,) = replay(folder, ["trackio"])
    board.place, board.settings = "another server", {}
    (third,) = replay(folder, ["trackio"])
    assert first.sent == second.sent == third.sent > 0


def test_a_broken_file_of_what_was_sent_is_said(board: Board, tmp_path: Path) -> None:
    folder = shutil.copytree(RUNS / "reviews", tmp_path / "reviews")
    (folder / FILE).write_text(json.dumps({"trackio": {"place": "memory", "runs": {"": 3}}}))
    with pytest.warns(CuecardWarning, match="remove it to send everything again"):
        (found,) = replay(folder, ["trackio"])
    assert found.sent == 0 and found.error is not None


def test_runs_are_found(tmp_path: Path) -> None:
    assert runs_in(RUNS / "sweep") == [RUNS / "sweep"]
    assert RUNS / "reviews" in runs_in(RUNS)
    contest = tmp_path / "compared" / "contests" / "400" / "lora"
    contest.mkdir(parents=True)
    shutil.copy(RUNS / "reviews" / "log.jsonl", contest)
    assert runs_in(tmp_path / "compared") == [tmp_path / "compared"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no such run"):
        runs_in(tmp_path / "missing")
    with pytest.raises(DataError, match="no run with a log"):
        runs_in(tmp_path / "empty")


def test_a_missing_package_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # A folder of that name, as wandb leaves one, is no package.
    kind = TrackerKind(("wandb_of_nobody",), lambda folder, package: Board())
    (tmp_path / "wandb_of_nobody").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("cuecard.tracking.trackers.TRACKERS", {**TRACKERS, "wandb": kind})
    with pytest.raises(ConfigError, match="the package of wandb is not installed") as caught:
        check_installed(["wandb"])
    assert caught.value.expected == "pip install 'cuecard[wandb]'"
