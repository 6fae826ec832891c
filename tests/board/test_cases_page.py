from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from board.conftest import MakeClient
from support.board_runs import answer, save_run


@pytest.mark.parametrize(
    ("query", "texts"),
    [
        ("", ["a good film", "a bad film", "a gob of drivel", "lovely"]),
        ("show=wrong", ["a gob of drivel", "lovely"]),
        ("show=right", ["a good film", "a bad film"]),
        ("show=unsure", ["a bad film"]),
        ("gold=negative&answer=positive", ["a gob of drivel"]),
        ("q=FILM", ["a good film", "a bad film"]),
        ("order=unsure", ["a bad film", "lovely", "a gob of drivel", "a good film"]),
        ("order=sure&show=wrong", ["a gob of drivel", "lovely"]),
        ("page=99", ["a good film", "a bad film", "a gob of drivel", "lovely"]),
    ],
)
def test_filters(query: str, texts: list[str], client: MakeClient, runs: Path) -> None:
    board = client(runs)
    found = board.get(f"/runs/reviews/rows?format=json&{query}").json()
    assert [row["fields"]["text"] for row in found["rows"]] == texts
    page = board.get(f"/runs/reviews/rows?{query}").text
    assert [text for text in texts if text not in page] == []


def test_pages(client: MakeClient, runs: Path) -> None:
    rows = [answer(f"row {n}", "positive", "positive") for n in range(1, 121)]
    save_run(runs / "many", rows)
    board = client(runs)

    def shown(page: int) -> Any:
        return board.get(f"/runs/many/rows?format=json&page={page}").json()

    first = [shown(page)["rows"][0]["fields"]["text"] for page in (1, 2, 3)]
    assert first == ["row 1", "row 51", "row 101"]
    assert (shown(1)["pages"], shown(1)["count"], len(shown(3)["rows"])) == (3, 120, 20)
    assert 'rel="next"' in board.get("/runs/many/rows").text


def test_as_csv(client: MakeClient, runs: Path) -> None:
    save_run(runs / "sums", [answer("=HYPERLINK(1)", "positive", "positive", 0.9)])
    found = client(runs).get("/runs/sums/rows?format=csv")
    assert found.headers["content-disposition"] == 'attachment; filename="rows.csv"'
    (row,) = csv.DictReader(io.StringIO(found.text))
    assert row["text"] == "'=HYPERLINK(1)"  # no spreadsheet runs it
    assert (row["gold"], row["correct"], row["probability"]) == ("positive", "True", "0.9")


def test_a_run_without_answers(client: MakeClient, runs: Path) -> None:
    assert client(runs).get("/runs/cut/rows").status_code == 404


def test_answers_that_are_near_or_far(client: MakeClient, runs: Path) -> None:
    row = answer("five", "5.0", "4.5") | {"probabilities": {}, "scores": {}, "mae": 0.5}
    del row["correct"]
    save_run(runs / "numbers", [row])
    board = client(runs)
    found = board.get("/runs/numbers/rows?format=json").json()["rows"][0]
    assert (found["correct"], found["probability"], found["values"]) == (None, None, {"mae": 0.5})
    assert board.get("/runs/numbers/rows").status_code == 200
    assert board.get("/runs/numbers").status_code == 200
