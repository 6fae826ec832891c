"""What the package advises by is what the benchmarks have measured."""

from __future__ import annotations

import json

import pytest

from benchmarks.advice.measured import RESULT, all_measurements, hit_rates, shipped
from benchmarks.advice.tables import advice_table
from cuecard.evaluation.measured.measurements import FILE, measurements


def test_the_package_has_what_the_results_say() -> None:
    known = all_measurements()
    assert json.loads(FILE.read_text()) == json.loads(json.dumps(shipped(known)))
    assert list(measurements()) == known


def test_the_hit_rate_is_that_of_the_measurements() -> None:
    assert json.loads(RESULT.read_text()) == json.loads(json.dumps(hit_rates(all_measurements())))


def test_measurements_are_those_of_their_files() -> None:
    results = RESULT.parent
    few = json.loads((results / "methods_few.json").read_text())
    found = {(m.task, m.backbone): m for m in all_measurements() if m.origin == "methods_few"}
    for row in few["rows"]:
        way = row["contestant"]
        if way in ("majority", "full") or "score" not in row:
            continue
        measured = found[row["set"], row["model"]]
        assert measured.scores[way] == pytest.approx(row["score"], abs=1e-4)
        assert measured.situation.rows == few["plan"]["rows"]["train"]
    learning = json.loads((results / "learning.json").read_text())
    (topic,) = (
        m
        for m in all_measurements()
        if (m.origin, m.task, m.situation.budget) == ("learning", "topic", 150.0)
    )
    cells = [c for c in learning["cells"] if (c["set"], c["budget"]) == ("topic", 150.0)]
    ours = [cell["score"] for cell in cells if cell["contestant"] == "auto"]
    assert topic.scores["auto"] == pytest.approx(sum(ours) / len(ours), abs=1e-4)
    assert "peft" not in topic.scores and "linear" in topic.scores


def test_the_table_has_every_case() -> None:
    results = json.loads(RESULT.read_text())
    lines = advice_table(results).splitlines()
    assert sum(line.startswith("| always ") for line in lines) == len(results["always"])
    cases = results["cases"]
    hits = sum(one["best_score"] - one["score"] <= 0.01 + 1e-9 for one in cases)
    rate = results["advice"]["all"]
    assert (rate["cases"], rate["hits"]) == (len(cases), hits)
    assert f"| {len(cases)} | {rate['tasks']} | {hits} (" in advice_table(results)
