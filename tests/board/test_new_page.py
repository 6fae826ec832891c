from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from board.conftest import MakeClient
from cuecard.board.jobs import Job, Jobs
from support.board_runs import save_run
from support.command_line import save_rows, save_tiny

HOSTILE = "<script>alert(1)</script>\x1b"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the board is started, with data of two labels."""
    monkeypatch.chdir(tmp_path)
    rows = [{"text": f"the {n} good films", "label": ("bad", "good")[n % 2]} for n in range(40)]
    save_rows(tmp_path / "reviews.csv", rows)
    return tmp_path


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    made = Jobs()
    yield made
    for job in made.all():
        job.process.kill()
        job.process.wait()
    made.close()


def until(done: Callable[[], Any], seconds: float = 240) -> Any:
    end = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found


def token(board: Any, path: str = "/new") -> str:
    found = re.search(r'name="token" value="([0-9a-f]+)"', board.get(path).text)
    assert found is not None
    return found[1]


def test_the_command_of_a_form(client: MakeClient, work: Path) -> None:
    board = client(work / "runs")
    given = {
        "data.path": "reviews.csv",
        "method.name": "prompt-tuning",
        "method.length": "4",
        "training.steps": "2",
        "task.words": "bad=poor\ngood=fine",
        "compare": "false",
        "name": "first",
    }
    found = board.get("/new/command", params={**given, "format": "json"}).json()
    assert found["command"] == (
        "cuecard train reviews.csv --word bad=poor --word good=fine --method prompt-tuning "
        f"--length 4 --steps 2 --no-compare --out {work / 'runs' / 'first'}"
    )
    assert "steps: 2" in found["yaml"] and found["error"] is None
    page = board.get("/new", params=given).text
    assert 'value="reviews.csv"' in page and "cuecard train reviews.csv" in page
    assert "bad=poor" in page


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"training.steps": "many"}, "whole number"),
        ({"method.name": "prompt-tunning"}, "prompt-tuning"),
        ({"name": "../away"}, "one folder"),
        ({"name": ".."}, "one folder"),
        ({"data.shell": "rm"}, "cannot be used"),
        ({"task.kind": HOSTILE}, "classification"),
        ({"name": "there"}, "other settings"),
    ],
)
def test_what_is_refused(given: dict[str, str], said: str, client: MakeClient, work: Path) -> None:
    save_run(work / "runs" / "there")
    board = client(work / "runs")
    sent = {"data.path": "reviews.csv", **given, "token": token(board)}
    answer = board.post("/new", data=sent, follow_redirects=False)
    assert answer.status_code == 400 and said in answer.text
    assert "<script>alert" not in answer.text and "\x1b" not in answer.text
    assert not list((work / "runs").glob("reviews*"))


@pytest.mark.parametrize("path", ["/new", "/jobs/0/stop", "/registry/reviews/promote"])
@pytest.mark.parametrize("sent", [{}, {"token": ""}, {"token": "0" * 64}, {"token": "ü"}])
def test_a_form_without_its_token(
    path: str, sent: dict[str, str], client: MakeClient, work: Path
) -> None:
    board = client(work / "runs")
    answer = board.post(path, data={"data.path": "reviews.csv", **sent})
    assert answer.status_code == 403 and "not of this page" in answer.text


def test_a_long_form(client: MakeClient, work: Path) -> None:
    board = client(work / "runs")
    assert board.post("/new", data={"data.path": "x" * (1 << 20)}).status_code == 413
    assert board.post("/new", content=iter([b"data.path=x"])).status_code == 413  # of unknown size


def test_a_training_from_start_to_end(client: MakeClient, work: Path) -> None:
    save_tiny(work / "tiny")
    board = client(work / "runs")
    given = {
        "data.path": "reviews.csv",
        "backbone": "tiny",
        "method.name": "prompt-tuning",
        "method.length": "2",
        "method.init": "random",
        "training.steps": "2",
        "compare": "false",
        "name": "first",
        "token": token(board),
    }
    started = board.post("/new", data=given)
    assert started.status_code == 200 and "cuecard train reviews.csv" in started.text
    place = started.url.path

    def ended() -> Any:
        told = board.get(f"{place}?format=json").json()
        return told if told["job"]["state"] != "running" else None

    told = until(ended)
    assert told["job"]["state"] == "done", told["output"]
    assert told["run"] == {"slug": "first", "name": "first"}
    run = board.get("/runs/first?format=json").json()
    assert run["run"]["state"] == "finished" and run["run"]["step"] == 2
    assert "first" in board.get("/new").text
    # Once more it is not another run, and nothing is left to do.
    place = board.post("/new", data=given).url.path
    assert until(ended)["job"]["state"] == "done"


def test_one_that_fails_tells_why(jobs: Jobs, work: Path) -> None:
    job = jobs.start(["train", "missing.csv", "--out", "runs/x"], Path("runs/x"))
    until(lambda: job.state != "running")
    assert job.state == "failed"
    assert "missing.csv" in job.told()
    assert job.command == "cuecard train missing.csv --out runs/x"


def test_what_it_prints_is_read_without_moving_where_it_writes(tmp_path: Path) -> None:
    """The child shares the file's position with us: moved, its next line would overwrite others."""
    with (tmp_path / "output").open("w+b") as output:
        process = subprocess.Popen([sys.executable, "-c", "print('x' * 30_000)"], stdout=output)
        assert process.wait() == 0
        os.lseek(output.fileno(), 7, os.SEEK_SET)
        told = Job("x", ("cuecard",), tmp_path, process, output).told()
        assert told == "x" * 19_999 + "\n"
        assert os.lseek(output.fileno(), 0, os.SEEK_CUR) == 7


def test_one_that_is_stopped(jobs: Jobs, work: Path) -> None:
    def served(job: Job) -> bool:
        return "http" in job.told()

    job = jobs.start(["board", "--port", "0"], Path("x"))
    until(lambda: served(job))
    assert job.state == "running"
    jobs.stop(job.id)
    until(lambda: job.state != "running")
    assert job.process.returncode in (0, -signal.SIGINT)
    jobs.stop(job.id)  # of one that has ended nothing is asked
