"""A comparison's folder on the board: as it ran, and what it led to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from board.conftest import MakeClient
from cuecard.board.records.index import RunIndex
from cuecard.folder_lock import held

ALL = "contests/all-rows"


@pytest.fixture
def cut(comparison: Path, tmp_path: Path) -> Path:
    """The same comparison as it was while LoRA was trained on all rows."""
    runs = tmp_path / "runs"
    shutil.copytree(comparison, runs)
    folder = runs / "contest"
    (folder / "compare.json").unlink()
    shutil.rmtree(folder / "contests" / "16-rows" / "lora" / "lr-0.0005")
    (folder / ALL / "lora" / "contestant.json").unlink()
    return runs


def states(facts: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {
        contest["name"]: {each["name"]: each["state"] for each in contest["contestants"]}
        for contest in facts["contests"]
    }


def test_in_the_list_it_is_a_comparison(client: MakeClient, comparison: Path) -> None:
    (run,) = client(comparison).get("/?format=json").json()["runs"]
    report = json.loads((comparison / "contest" / "compare.json").read_text())
    found = report["contests"][-1]["contestants"]
    best = max(found.values(), key=lambda one: one["validation"] or 0.0)
    assert (run["kind"], run["state"]) == ("comparison", "finished")
    assert run["method"] == f"{best['title']}, best of 4"
    assert run["score"] == best["score"] and run["interval"] == best["ci95"]


def test_it_shows_the_report(client: MakeClient, comparison: Path) -> None:
    board = client(comparison)
    page = board.get("/runs/contest").text
    facts = board.get("/runs/contest?format=json").json()
    titles = [section["title"] for section in facts["sections"]]
    assert titles[0] == "" and titles[2:] == [
        "Score by what it costs",
        "Score by training rows",
        "Each against each",
    ]
    # The figures of the report: intervals, three of costs, a learning curve; and a bar for each of
    # the four contestants of two contests.
    assert page.count("<figure") == 5 and page.count('class="chart small"') == 8
    report = json.loads((comparison / "contest" / "compare.json").read_text())
    lora = report["contests"][-1]["contestants"]["lora"]
    costs = {row[0]: row[1:] for row in facts["sections"][1]["rows"]}
    assert costs["LoRA"][0] == f"{lora['parameters']:,}"
    assert costs["majority class"][4] == "-" and costs["zero-shot"][4].startswith("same (")
    changed = {one["key"] for one in facts["settings"] if one["changed"]}
    assert {"contest.rows", "contest.contestants", "data.split"} <= changed


def test_contestants_are_compared_row_by_row(client: MakeClient, comparison: Path) -> None:
    board = client(comparison)
    found = board.get("/runs/contest?format=json").json()["contests"][-1]["contestants"]
    slugs = {each["name"]: each["slug"] for each in found}
    assert slugs["lora"] == "contest~contests~all-rows~lora"
    rows = board.get(f"/runs/{slugs['tfidf']}/rows")
    assert rows.status_code == 200 and "&lt;script&gt;" in rows.text
    assert "<script>alert" not in rows.text
    tested = json.loads((comparison / "contest" / "compare.json").read_text())["contests"][0][
        "test_rows"
    ]
    both = board.get(f"/compare?run={slugs['majority']}&run={slugs['tfidf']}&format=json").json()
    assert both["common"] == tested and both["differences"][0]["gain"] > 0
    assert [run["method"] for run in both["runs"]] == ["majority class", "TF-IDF + regression"]
    part = board.get(f"/runs/{slugs['tfidf']}?format=json").json()["run"]
    assert part["state"] == "finished" and part["metric"] == "accuracy"


def test_it_is_watched_while_it_runs(client: MakeClient, cut: Path) -> None:
    board, folder = client(cut), cut / "contest"
    with held(folder):
        facts = board.get("/runs/contest?format=json").json()
        page = board.get("/runs/contest").text
        (run,) = board.get("/?format=json").json()["runs"]
        assert (run["state"], run["method"]) == ("running", "4 contestants")
        assert 'hx-get="/runs/contest/live"' in page
        live = board.get("/runs/contest/live").text
    found = states(facts)
    assert set(found["16-rows"].values()) == {"finished"}
    assert found["all-rows"] == {
        "majority": "finished",
        "tfidf": "finished",
        "zero-shot": "finished",
        "lora": "running",
    }
    (lora,) = [e for e in facts["contests"][1]["contestants"] if e["name"] == "lora"]
    assert lora["told"].startswith("lr-0.0005: ")
    assert live.count("<figure") == 2 and "so far" in live
    assert facts["sections"] == []
    # Nobody holds it: it was stopped, and nothing works.
    stopped = board.get("/runs/contest?format=json").json()
    assert stopped["run"]["state"] == "stopped"
    assert states(stopped)["all-rows"]["lora"] == "waiting"


def test_before_the_first_contestant_all_wait(client: MakeClient, cut: Path) -> None:
    shutil.rmtree(cut / "contest" / "contests")
    board = client(cut)
    assert board.get("/runs/contest?format=json").json()["run"]["state"] == "new"
    with held(cut / "contest"):
        found = states(board.get("/runs/contest?format=json").json())
    assert [*found] == ["16-rows", "all-rows"]
    assert [*found["16-rows"].values()] == ["running", "waiting", "waiting", "waiting"]
    assert {*found["all-rows"].values()} == {"waiting"}


def test_left_out_says_why(client: MakeClient, cut: Path) -> None:
    file = cut / "contest" / ALL / "zero-shot" / "contestant.json"
    why = "no <b>words</b>"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"test": None, "left_out": why}))
    board = client(cut)
    contest = board.get("/runs/contest?format=json").json()["contests"][-1]["contestants"]
    found = next(each for each in contest if each["name"] == "zero-shot")
    assert (found["state"], found["told"], found["slug"]) == ("left out", why, "")
    assert "no &lt;b&gt;words" in board.get("/runs/contest").text


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"contests": [{"contestants": {"a": {}}}]}', '{"contests": 3}']
)
def test_a_broken_report_is_said(client: MakeClient, cut: Path, text: str) -> None:
    (cut / "contest" / "compare.json").write_text(text)
    board = client(cut)
    for path in ("/", "/runs/contest", "/runs/contest/live"):
        assert board.get(path).status_code == 200, path
    told = board.get("/runs/contest?format=json").json()["broken_report"]
    assert bool(told) == ("contests" in text)


def test_a_broken_contestant_is_one_that_waits(client: MakeClient, cut: Path) -> None:
    (cut / "contest" / ALL / "tfidf" / "contestant.json").write_text('{"test": 3, "score": "x"}')
    (cut / "contest" / ALL / "majority" / "contestant.json").write_text("{")
    found = client(cut).get("/runs/contest?format=json").json()["contests"][-1]["contestants"]
    told = {each["name"]: (each["state"], each["score"]) for each in found}
    assert told["majority"] == ("waiting", None) and told["tfidf"] == ("finished", None)


def test_parts_are_contestants_and_their_runs(comparison: Path) -> None:
    index = RunIndex(comparison)
    names = [part.name for part in index.parts(index.find("contest"))]
    assert f"contest/{ALL}/lora" in names and f"contest/{ALL}/lora/lr-0.0005" in names
    assert f"contest/{ALL}" not in names and len(names) == 10
