"""What the package advises by is what the benchmarks have measured."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.advice.bounds import by_chance, by_truth
from benchmarks.advice.measured import (
    DATA,
    RESULT,
    all_measurements,
    hit_rates,
    of_compare,
)
from benchmarks.advice.tables import advice_table
from benchmarks.compare.cells import COMPARED
from cuecard.evaluation.measured.measurements import FILE, Measurement, Situation, measurements


def test_the_package_has_what_the_results_say() -> None:
    known = all_measurements()
    made = json.loads(json.dumps([each.to_dict() for each in known]))
    assert json.loads(FILE.read_text()) == made, "run `make advice`"
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


def test_a_contest_is_a_measurement_for_each_set_and_backbone() -> None:
    def cell(contestant: str, test: float, *, words: bool = False, **more: Any) -> dict[str, Any]:
        given = {"backbone": "smollm2-135m-instruct", "set": "articles", "right": "1101"}
        own = {"contestant": contestant, "test": test, "words": words, "cpu_s": 90.0}
        return {**given, **own, "validation": test, **more}

    cells = [
        cell("tfidf", 0.6),
        cell("embedding-lr", 0.5),
        cell("zero-shot", 0.9, words=True, validation=0.2),
        cell("in-context", 0.7, words=True, validation=0.5),
        cell("prompt-tuning", 0.8),
        cell("full", 0.95),
        {"backbone": "smollm2-135m-instruct", "set": "articles", "contestant": "lora"},
    ]
    (found,) = of_compare("compare", {"plan": {"rows": {"train": 256}}, "cells": cells})
    assert found.scores == {"linear": 0.6, "by hand": 0.7, "prompt-tuning": 0.8}
    assert (found.situation.rows, found.situation.budget, found.test_rows) == (256, 90.0, 4)
    assert (found.source, found.situation.labels) == ("bbc-news", 5)
    assert set(COMPARED) <= DATA.keys()


def test_bounds_of_what_advice_can_reach() -> None:
    def measured(rows: int, **scores: float) -> Measurement:
        situation = Situation("labels", 100, 2, 20.0, "causal", 1000, 60.0)
        return Measurement("a task", "its data", "a model", situation, rows, "a file", scores)

    clear = measured(10**9, a=0.9, b=0.895, c=0.5, d=0.5)
    assert by_chance([clear], 1) == 2 / 4 and by_chance([clear], 2) == 5 / 6
    assert by_chance([measured(9, a=0.5)], 2) == 1
    assert by_truth([clear], same_rows=True) == by_truth([clear], same_rows=False) == 1
    # Two equal ways on so few rows: whichever is taken, the other one is luckier half the time.
    noisy = [measured(20, a=0.5, b=0.5)] * 3
    assert 1.2 < by_truth(noisy, same_rows=False) < 1.9
    assert by_truth([measured(400, a=0.5, b=0.5)], same_rows=True) > by_truth(
        [measured(400, a=0.5, b=0.5)], same_rows=False
    )


def test_the_table_has_every_case() -> None:
    results = json.loads(RESULT.read_text())
    lines = advice_table(results).splitlines()
    assert sum(line.startswith("| always ") for line in lines) == len(results["always"])
    cases = results["cases"]
    hits = sum(one["best_score"] - one["score"] <= 0.01 + 1e-9 for one in cases)
    rate = results["advice"]["all"]
    assert (rate["cases"], rate["hits"]) == (len(cases), hits)
    assert f"| {len(cases)} | {rate['tasks']} | {hits} (" in advice_table(results)
