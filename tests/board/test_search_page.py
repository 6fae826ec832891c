"""A search's folder on the board: candidates, budget, and the prompt beside the start."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from board.conftest import MakeClient
from cuecard.board.records.searches import search_curves
from cuecard.folder_lock import held
from cuecard.training.storage.log import read_log


@pytest.fixture
def own(search: Path, tmp_path: Path) -> Path:
    """A copy of the folder."""
    shutil.copytree(search, tmp_path / "runs")
    return tmp_path / "runs"


def cut_log(folder: Path, events: int) -> list[dict[str, Any]]:
    """Leave the log's first events, and nothing that a finished search leaves."""
    kept = (folder / "log.jsonl").read_text().splitlines(keepends=True)[:events]
    (folder / "log.jsonl").write_text("".join(kept))
    (folder / "search.json").unlink(missing_ok=True)
    return [json.loads(line) for line in kept]


def test_in_the_list_it_is_a_search(client: MakeClient, search: Path) -> None:
    (run,) = client(search).get("/?format=json").json()["runs"]
    report = json.loads((search / "words" / "search.json").read_text())
    assert (run["kind"], run["state"]) == ("search", "finished")
    assert run["method"] == f"demonstrations, {len(report['validation'])} finalists"
    assert run["score"] == report["test"]["metrics"]["accuracy"]
    assert run["interval"] == report["test"]["ci95"]["accuracy"]


def test_candidates_with_their_texts_and_scores(client: MakeClient, search: Path) -> None:
    facts = client(search).get("/runs/words?format=json").json()
    report = json.loads((search / "words" / "search.json").read_text())
    found = facts["candidates"]
    told = [(one["origin"], one["score"], one["rows"]) for one in report["candidates"]]
    assert sorted((e["origin"], e["score"], e["rows"]) for e in found) == sorted(told)
    ranks = [(-one["rows"], -one["score"]) for one in found]
    assert ranks == sorted(ranks)
    start = next(one for one in found if one["origin"] == "as it was")
    assert start["text"].startswith("Decide which of these fits: bad or good.\n\nReview:")
    solved = next(one for one in found if "demonstrations" in one["origin"])
    assert solved["text"].count("Is:") == 1 + int(solved["origin"].split()[0])
    # What validation rows say is said of finalists alone.
    validated = {(one["origin"], one["score"]) for one in report["validation"]}
    shown = {(e["origin"], e["validation"]) for e in found if e["validation"] is not None}
    assert shown == validated
    assert sum(one["kept"] for one in found) == 1


def test_the_exact_text_beside_the_start(client: MakeClient, search: Path) -> None:
    board = client(search)
    report = json.loads((search / "words" / "search.json").read_text())
    manifest = (search / "words" / "prompt" / "prompt.json").read_text()
    found = board.get("/runs/words?format=json").json()["found"]
    assert found["template"] == report["template"]
    assert json.dumps(found["template"], ensure_ascii=False) in manifest
    assert found["start_template"].startswith("Decide which of these fits")
    page = board.get("/runs/words").text
    assert "<script>alert" not in page
    assert ("The prompt that was found" in page) == report["better"]


def test_the_budget_by_model(client: MakeClient, search: Path) -> None:
    facts = client(search).get("/runs/words?format=json").json()
    spent = json.loads((search / "words" / "search.json").read_text())["spent"]
    (model,) = facts["spent"]
    assert (model["model"], model["open"], model["failed"]) == ("backbone", 0, 0)
    assert (model["calls"], model["tokens"]) == (spent["calls"], spent["tokens"])
    (calls,) = facts["limits"]
    assert (calls["name"], calls["most"]) == ("calls", "900 calls")
    assert calls["share"] == pytest.approx(spent["calls"] / 900)


def test_the_curve_rises_over_calls(search: Path) -> None:
    events = read_log(search / "words")
    candidate, best = search_curves(events)
    assert len(candidate.steps) == sum(event["event"] == "scored" for event in events)
    assert [*candidate.steps] == sorted(set(candidate.steps))
    assert [*best.values] == sorted(best.values)
    rounds = [event for event in events if event["event"] == "round"]
    assert best.values[-1] == rounds[-1]["best"] and best.steps[-1] <= rounds[-1]["calls"]


def test_it_is_watched_while_it_runs(client: MakeClient, own: Path) -> None:
    whole = read_log(own / "words")
    first = next(n for n, event in enumerate(whole) if event["event"] == "round")
    cut_log(own / "words", first + 1)
    journal = own / "words" / "journal.jsonl"
    reserved = {"calls": 5, "tokens": 70, "money": 0}
    begun = {"asked": "x", "model": "gpt <b>", "reserved": reserved, "seconds": 3}
    with journal.open("a") as file:
        file.write(json.dumps(begun) + "\n" + '{"asked": "cut o')
    board = client(own)
    with held(own / "words"):
        facts = board.get("/runs/words?format=json").json()
        live = board.get("/runs/words/live").text
    assert facts["run"]["state"] == "running" and facts["found"] is None
    assert facts["progress"].startswith("round 1, ")
    assert {curve["key"] for curve in facts["curves"]} == {"candidate", "best"}
    assert 'hx-get="/runs/words/live"' in live and "gpt &lt;b&gt;" in live
    asked = next(one for one in facts["spent"] if one["model"] == "gpt <b>")
    assert (asked["open"], asked["calls"], asked["answered"]) == (1, 5, 0)
    assert journal.read_text().endswith("cut o")  # a board changes no file


def test_a_search_of_an_earlier_version(client: MakeClient, own: Path) -> None:
    report = json.loads((own / "words" / "search.json").read_text())
    del report["start_template"]
    (own / "words" / "search.json").write_text(json.dumps(report))
    (own / "words" / "log.jsonl").unlink()
    facts = client(own).get("/runs/words?format=json").json()
    assert len(facts["candidates"]) == len(report["candidates"])
    assert facts["candidates"][0]["text"] == "" and facts["curves"] == []
    assert "As it was" not in client(own).get("/runs/words").text


@pytest.mark.parametrize("text", ["", "[]", "{", '{"score": 3, "test": 4, "validation": {}}'])
def test_broken_files(client: MakeClient, own: Path, text: str) -> None:
    folder = own / "words"
    (folder / "search.json").write_text(text)
    (folder / "journal.jsonl").write_text('3\n{"asked": {}}\n{"answered": "x"}\nnull\n')
    (folder / "log.jsonl").write_text(
        '{"event": "scored", "score": 1, "calls": 2}\n{"event": "scored", "score": "x"}\n'
        '{"event": "scored", "score": null, "calls": "3"}\n{"event": "round"}\n'
    )
    settings = (folder / "search.yaml").read_text()
    (folder / "search.yaml").write_text(settings.replace("900 calls", "<b>many</b>"))
    board = client(own)
    for path in ("/", "/runs/words", "/runs/words/live", "/runs/words?format=json"):
        assert board.get(path).status_code == 200, path
    assert len(board.get("/runs/words?format=json").json()["candidates"]) == 1
