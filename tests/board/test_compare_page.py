from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from board.conftest import MakeClient
from cuecard.metrics.intervals import mcnemar, paired_interval
from support.board_runs import answer, save_run


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """Two runs of the same rows: one regressed, two fixed, one still failing, one unchanged."""
    folder = tmp_path / "pair"
    golds = ["positive", "negative", "negative", "positive", "positive"]
    first = ["positive", "positive", "positive", "negative", "positive"]
    second = ["negative", "negative", "negative", "negative", "positive"]
    texts = ["one", "two", "three", "four", "five"]
    for name, said in (("a", first), ("b", second)):
        rows = [answer(*row) for row in zip(texts, golds, said, strict=True)]
        extra = answer(f"only {name}", "positive", "positive")
        seed = 1 if name == "a" else 2
        save_run(folder / name, [*reversed(rows), extra], training={"seed": seed})
    return folder


def compared(client: Any, query: str) -> Any:
    return client.get(f"/compare?format=json&run=a&run=b&{query}").json()


def test_against_the_first(client: MakeClient, pair: Path) -> None:
    board = client(pair)
    found = compared(board, "show=all")
    assert (found["common"], found["alone"]) == (5, [1, 1])
    (told,) = found["differences"]
    assert told["counts"] == {"regressed": 1, "fixed": 2, "failing": 1, "unchanged": 1}
    assert told["gain"] == pytest.approx(0.2)
    interval = paired_interval([0, 1, 1, 0, 1], [1, 0, 0, 0, 1])
    assert told["interval"] == pytest.approx([interval.low, interval.high])
    assert told["p"] == mcnemar(2, 1) == 1.0
    assert found["settings"] == {"training.seed": [1, 2]}
    page = board.get("/compare?run=a&run=b").text
    assert "4 of 5" not in page and "3 of 5 rows" in page  # those that differ
    assert "only a" not in page


@pytest.mark.parametrize(
    ("show", "texts"),
    [
        ("all", ["five", "four", "three", "two", "one"]),
        ("differ", ["three", "two", "one"]),
        ("regressed", ["one"]),
        ("fixed", ["three", "two"]),
        ("failing", ["four"]),
        ("unchanged", ["five"]),
    ],
)
def test_filters(show: str, texts: list[str], client: MakeClient, pair: Path) -> None:
    found = compared(client(pair), f"show={show}")
    assert [row["cases"][0]["fields"]["text"] for row in found["rows"]] == texts
    searched = compared(client(pair), f"show={show}&q=THREE")
    assert searched["count"] == ("three" in texts)


def test_repeated_rows_are_joined_in_order(client: MakeClient, tmp_path: Path) -> None:
    folder = tmp_path / "twice"
    save_run(folder / "a", [answer("x", "positive", said) for said in ("positive", "negative")])
    save_run(folder / "b", [answer("x", "positive", "positive")] * 3)
    (told,) = compared(client(folder), "show=all")["differences"]
    assert told["counts"] == {"regressed": 0, "fixed": 1, "failing": 0, "unchanged": 1}


def test_rows_of_other_data(client: MakeClient, pair: Path) -> None:
    save_run(pair / "c", [answer("one", "negative", "negative")])  # another truth: another row
    board = client(pair)
    page = board.get("/compare?run=a&run=c")
    assert page.status_code == 200 and "no test rows in common" in page.text
    assert board.get("/compare?run=a&run=b&run=c").status_code == 200


def test_answers_that_are_near_or_far(client: MakeClient, pair: Path) -> None:
    row = answer("five", "5.0", "4.5") | {"probabilities": {}, "mae": 0.5}
    del row["correct"]
    for name in ("m", "n"):
        save_run(pair / name, [row])
    found = client(pair).get("/compare?format=json&run=m&run=n&show=all").json()
    assert (found["differences"], found["common"]) == ([None], 1)
    assert client(pair).get("/compare?run=m&run=n&show=all").status_code == 200


@pytest.mark.parametrize(
    "query", ["", "run=a", "run=a&run=a", "&".join(f"run={n}" for n in range(9)), "run=a&run=z"]
)
def test_what_cannot_be_compared(query: str, client: MakeClient, pair: Path) -> None:
    assert client(pair).get(f"/compare?{query}").status_code in (400, 404)


def test_hostile_answers(client: MakeClient, tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>\x1b\u202e"
    for name in ("a", "b"):
        said = bad if name == "a" else "x"
        save_run(tmp_path / "bad" / name, [answer(bad, bad, said)], data=f"{bad}{name}")
    page = client(tmp_path / "bad").get("/compare?run=a&run=b").text
    assert "<script>alert" not in page and "\x1b" not in page and "\u202e" not in page
