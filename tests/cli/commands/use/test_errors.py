"""`cuecard errors` as a user types it: a table, JSON and CSV of what the run has kept."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from support.command_line import Call

FACTS = ["source", "row", "gold", "answer", "probability", "gold_probability", "suggested"]


@pytest.fixture
def kept(run: Path, tmp_path: Path) -> Path:
    """The run, whose answers are some that are known."""
    folder = shutil.copytree(run, tmp_path / "run")
    lines = []
    told = [("negative", 0.9), ("negative", 0.02), ("positive", 0.55), ("negative", 0.95)]
    for n, (gold, bug) in enumerate(told, 2):
        shares = {"negative": bug, "positive": 1 - bug}
        answer = max(shares, key=lambda label: shares[label])
        row = {"row": n, "source": "data/rows.csv", "fields": {"text": f"a [red]\nfilm {n}"}}
        row |= {"gold": gold, "answer": answer, "correct": answer == gold, "scores": shares}
        lines.append(json.dumps(row | {"probabilities": shares}) + "\n")
    (folder / "predictions.jsonl").write_text("".join(lines))
    return folder


def test_a_table_of_each_list(kept: Path, cuecard: Call) -> None:
    done = cuecard("errors", kept)
    assert done.code == 0, done.err
    assert "4 rows, 2 wrong (50.0%), 1 unsure, 1 probably mislabelled" in done.out
    wrong, unsure, suspects = done.out.split("\n\n")[1:]
    assert wrong.splitlines()[0] == "Wrong, the most confident first"
    assert wrong.splitlines()[2].split()[:5] == ["rows.csv,", "row", "3", "negative", "positive"]
    assert "0.980" in wrong and "a [red] film 3" in wrong and "rows.csv, row 4" in unsure
    assert "suggested" in suspects and "row 3" in suspects
    one = cuecard("errors", kept, "--limit", 1).out
    assert "Wrong, the most confident first (1 of 2)" in one


def test_json_and_csv_have_every_row(kept: Path, cuecard: Call, tmp_path: Path) -> None:
    told = cuecard("errors", kept, "--csv", tmp_path / "check.csv", "--json").json
    assert told["rows"] == 4 and [row["row"] for row in told["wrong"]] == [3, 4]
    assert told["mislabelled"][0]["suggested"] == "positive" and 0 < told["label_noise"] < 1
    with (tmp_path / "check.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["wrong", "unsure", "mislabelled", *FACTS, "text"]
    assert [row[:3] for row in rows] == [["1", "0", "1"], ["1", "1", "0"]]
    assert rows[0][3:7] == ["data/rows.csv", "3", "negative", "positive"]
    assert rows[0][-2:] == ["positive", "a [red]\nfilm 3"]
    done = cuecard("errors", kept, "--csv", tmp_path / "check.csv", "--limit", 1)
    assert done.out == f"2 rows in {tmp_path / 'check.csv'}\n"


def test_a_text_is_no_formula_in_a_spreadsheet(kept: Path, cuecard: Call, tmp_path: Path) -> None:
    file = kept / "predictions.jsonl"
    told = file.read_text().replace("a [red]", "=HYPERLINK(1)").replace('"text"', '"=1+2"')
    file.write_text(told)
    cuecard("errors", kept, "--csv", tmp_path / "check.csv")
    with (tmp_path / "check.csv").open(newline="") as lines:
        header, first, _ = csv.reader(lines)
    assert header[-1] == "'=1+2" and first[-1] == "'=HYPERLINK(1)\nfilm 3"


def test_what_a_run_has_kept_and_more_answers(
    run: Path, data: Path, cuecard: Call, tmp_path: Path
) -> None:
    first = cuecard("errors", run, "--json")
    assert first.code == 0, first.err
    lines = (run / "predictions.jsonl").read_text().splitlines()
    wrong = [line for line in map(json.loads, lines) if not line["correct"]]
    assert first.json["rows"] == len(lines) and len(first.json["wrong"]) == len(wrong)
    more = tmp_path / "more.jsonl"
    scored = cuecard("eval", run, data, "--limit", 20, "--predictions", more)
    assert scored.code == 0, scored.err
    assert cuecard("errors", run, more, "--json").json["rows"] == len(lines) + 20


def test_what_is_not_there_is_named(run: Path, cuecard: Call, tmp_path: Path) -> None:
    bare = shutil.copytree(run, tmp_path / "bare")
    (bare / "predictions.jsonl").unlink()
    done = cuecard("errors", bare)
    assert done.code == 2 and "no answers to test rows" in done.err and "cuecard eval" in done.err
    assert cuecard("errors", tmp_path / "none").code == 2
    done = cuecard("errors", run, tmp_path / "no.jsonl")
    assert done.code == 2 and "file of answers cannot be read" in done.err
    assert cuecard("errors", run, "--csv", tmp_path).code == 2
