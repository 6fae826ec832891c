from __future__ import annotations

from pathlib import Path

from board.conftest import MakeClient
from cuecard.board.records.curves import thinned
from cuecard.folder_lock import held
from support.board_runs import answer, save_run


def test_what_a_run_shows(client: MakeClient, runs: Path) -> None:
    board = client(runs)
    page = board.get("/runs/reviews").text
    assert "majority class" in page and "40 test rows, scored once." in page
    assert page.count("<svg") == 2  # contestants, calibration
    facts = board.get("/runs/reviews?format=json").json()
    assert [curve["key"] for curve in facts["curves"]] == [
        "loss",
        "validation_loss",
        "validation_accuracy",
    ]
    assert facts["curves"][0]["steps"] == [1, 2, 3, 4]
    assert facts["table"]["rows"][-1][:2] == ["trained: prompt-tuning", "0.500"]
    assert facts["confusion"]["labels"] == ["negative", "positive"]
    counts = [[cell["count"] for cell in row["cells"]] for row in facts["confusion"]["rows"]]
    assert counts == [[1, 1], [1, 1]]


def test_a_run_at_work_is_asked_for_again(client: MakeClient, runs: Path) -> None:
    board = client(runs)
    assert "every 2s" not in board.get("/runs/cut").text
    with held(runs / "cut"):
        page = board.get("/runs/cut").text
        assert 'hx-get="/runs/cut/live"' in page and "step 3 of 4, loss 0.3333" in page


def test_settings_beside_their_defaults(client: MakeClient, runs: Path) -> None:
    save_run(runs / "long", training={"steps": 900})
    settings = client(runs).get("/runs/long?format=json").json()["settings"]
    changed = [one for one in settings if one["changed"]]
    assert [(one["key"], one["value"], one["default"]) for one in changed] == [
        ("training.steps", "900", "300")
    ]


def test_hostile_answers(client: MakeClient, runs: Path) -> None:
    text = "<img src=x onerror=alert(1)>\x1b[31m\x00\u2028\ud800"
    save_run(runs / "bad", [answer(text, "<b>", "</td><script>alert(2)</script>")])
    board = client(runs)
    for path in ("/runs/bad", "/runs/bad/rows", "/runs/bad/rows?q=<script>", "/runs/bad?gold=%ff"):
        page = board.get(path).text
        assert "<img src=x" not in page and "<script>alert" not in page and "\x1b" not in page
    rows = board.get("/runs/bad/rows?format=json").json()["rows"]
    assert rows[0]["fields"]["text"] == text


def test_thinned() -> None:
    points = [(step, float(step)) for step in range(10_000)]
    kept = thinned(points, 100)
    assert len(kept) == 100 and kept[0] == points[0] and kept[-1] == points[-1]
    assert thinned(points[:5], 100) == points[:5]
