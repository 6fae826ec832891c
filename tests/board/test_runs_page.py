from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from board.conftest import MakeClient
from cuecard.folder_lock import held
from support.board_runs import answer, save_run


def listed(client: Any, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"/?format=json&{query}").json()["runs"]
    return found


def test_no_runs_yet(client: MakeClient, tmp_path: Path) -> None:
    page = client(tmp_path / "nothing").get("/")
    assert page.status_code == 200
    assert "No runs yet" in page.text


def test_a_run_in_a_line(client: MakeClient, runs: Path) -> None:
    found = {run["name"]: run for run in listed(client(runs))}
    reviews = found["reviews"]
    assert reviews["state"] == "finished" and found["cut"]["state"] == "stopped"
    assert (reviews["data"], reviews["model"]) == ("reviews.csv", "tiny")
    assert (reviews["method"], reviews["metric"]) == ("prompt-tuning", "accuracy")
    assert reviews["score"] == 0.5 and reviews["interval"] == [0.4, 0.6]
    assert (found["cut"]["step"], found["cut"]["steps"]) == (3, 4)


def test_a_run_that_a_process_works_in(client: MakeClient, runs: Path) -> None:
    board = client(runs)
    with held(runs / "cut"):
        states = {run["name"]: run["state"] for run in listed(board)}
    assert states == {"cut": "running", "reviews": "finished"}
    assert {run["state"] for run in listed(board)} == {"stopped", "finished"}


def test_sorted_and_filtered(client: MakeClient, runs: Path) -> None:
    save_run(runs / "group" / "better", score=0.9)
    board = client(runs)
    names = [run["name"] for run in listed(board, "sort=score&order=down")]
    assert names == ["group/better", "reviews", "cut"]
    names = [run["name"] for run in listed(board, "sort=score&order=up")]
    assert names == ["reviews", "group/better", "cut"]  # without a score last either way
    assert [run["name"] for run in listed(board, "q=BETT")] == ["group/better"]
    assert [run["name"] for run in listed(board, "state=stopped")] == ["cut"]
    assert board.get("/?sort=<script>").status_code == 422


def test_parts_are_not_in_the_list(client: MakeClient, runs: Path) -> None:
    save_run(runs / "sweep" / "best")
    (runs / "sweep" / "best" / "recipe.yaml").rename(runs / "sweep" / "sweep.yaml")
    save_run(runs / "sweep" / "trials" / "000", finished=False)
    board = client(runs)
    assert sorted(run["name"] for run in listed(board)) == ["cut", "reviews", "sweep"]
    parts = board.get("/runs/sweep?format=json").json()["parts"]
    assert [part["slug"] for part in parts] == ["sweep~best", "sweep~trials~000"]
    assert board.get("/runs/sweep~trials~000").status_code == 200
    # What the sweep chose is what it scores.
    assert next(run for run in listed(board) if run["name"] == "sweep")["score"] == 0.75


HOSTILE = ("<script>alert(1)</script>", "a b&c", "\u202egpj.exe", "~", "two\nlines", "..a")


@pytest.mark.parametrize("name", [*HOSTILE, os.fsdecode(b"caf\xe9")])
def test_hostile_names(name: str, client: MakeClient, runs: Path) -> None:
    name = name.replace("/", "")
    save_run(runs / name, [answer("x", "positive", "positive")])
    board = client(runs)
    page = board.get("/")
    assert page.status_code == 200
    assert "<script>alert" not in page.text and "\u202e" not in page.text
    slugs = [run["slug"] for run in listed(board)]
    assert len(set(slugs)) == 3
    (slug,) = set(slugs) - {"reviews", "cut"}
    for path in (f"/runs/{slug}", f"/runs/{slug}/rows", f"/runs/{slug}/live"):
        found = board.get(path)
        assert found.status_code == 200, path
        assert "<script>alert" not in found.text and "\u202e" not in found.text


@pytest.mark.parametrize("slug", ["..%2f..%2fetc", "missing", "%00", "reviews~x"])
def test_no_path_leads_out(slug: str, client: MakeClient, runs: Path) -> None:
    board = client(runs)
    assert board.get(f"/runs/{slug}", follow_redirects=False).status_code in (404, 400)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe not utf-8\n",
        b'{"event": "start", "steps": "many"}\n{"event": "step", "step": "two", "loss": "x"}\n',
        b'[1, 2]\n5\n{"event": 3}\n{"event": "step", "step": 1, "loss": NaN}\n',
        b'{"event": "step", "step": 1, "loss": 0.5}\n{"event": "st',
    ],
)
def test_a_broken_log(content: bytes, client: MakeClient, runs: Path) -> None:
    (runs / "cut" / "log.jsonl").write_bytes(content)
    board = client(runs)
    for path in ("/", "/?format=json", "/runs/cut", "/runs/cut?format=json", "/runs/cut/live"):
        assert board.get(path).status_code == 200, path


@pytest.mark.parametrize("file", ["recipe.yaml", "report.json", "predictions.jsonl"])
def test_other_broken_files(file: str, client: MakeClient, runs: Path) -> None:
    (runs / "reviews" / file).write_bytes(b"{: [\xff")
    board = client(runs)
    assert board.get("/").status_code == 200
    page = board.get("/runs/reviews")
    assert page.status_code == 200
    assert ("cannot be read" in page.text) == (file != "report.json")


def test_many_runs_are_read_once(client: MakeClient, runs: Path) -> None:
    for number in range(500):
        save_run(runs / f"r{number:03}", steps=1, finished=number % 2 == 0)
    board = client(runs)
    opened: Counter[str] = Counter()
    counting = True

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        if counting and event == "open" and str(arguments[0]).startswith(str(runs)):
            opened[Path(str(arguments[0])).name] += 1

    sys.addaudithook(count)
    assert len(board.get("/").text) < 200_000  # a page of them
    # A finished run's settings and report, another one's settings and log.
    assert opened == {"recipe.yaml": 502, "report.json": 251, "log.jsonl": 251}
    opened.clear()
    assert board.get("/?format=json&page=6").json()["count"] == 502
    assert not opened
    with (runs / "r001" / "log.jsonl").open("a") as log:
        log.write(json.dumps({"event": "step", "step": 9, "loss": 0.1}) + "\n")
    opened.clear()
    assert listed(board, "q=r001")[0]["step"] == 9
    counting = False
    assert opened == {"log.jsonl": 1}
