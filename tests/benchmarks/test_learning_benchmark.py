"""What is learnt within a budget: the table in the docs, and a contestant's budget."""

from __future__ import annotations

from typing import Any

from benchmarks.learning.tables import difference, learning_table


def cell(contestant: str, score: float, seed: int = 0, **other: Any) -> dict[str, Any]:
    given = {"set": "topic", "rows": 400, "budget": 60.0, "seconds": 61.0, "trained": 8, "note": ""}
    given["metric"] = "accuracy"
    return {**given, "contestant": contestant, "score": score, "seed": seed, **other}


def results(*cells: dict[str, Any]) -> dict[str, Any]:
    about = {"machine": {"cpu": "a processor"}, "versions": {"peft": "0.1"}}
    return {"model": "a-model", "cells": list(cells), **about}


def test_every_budget_has_what_no_budget_changes() -> None:
    page = learning_table(
        results(
            cell("auto", 0.9),
            cell("auto", 0.92, budget=150.0),
            cell("tfidf", 0.7, budget=0.0),
            cell("lora", 0.85),
        )
    )
    lines = [line for line in page.splitlines() if line.startswith("| 400")]
    assert [line.split(" | ")[1] for line in lines] == ["60", "60", "60", "150", "150"]
    assert "+0.050" in lines[1] and "+0.200" in lines[2] and "+0.220" in lines[4]


def test_metrics_have_tables_of_their_own() -> None:
    written = {"set": "headlines", "metric": "rouge_l"}
    page = learning_table(results(cell("auto", 0.9), cell("auto", 0.2, **written)))
    tables = page.split("\n\n")
    assert len(tables) == 3 and "headlines" not in tables[0]
    assert "| rouge l | headlines |" in tables[1] and "topic" not in tables[1]


def test_differences_are_of_pairs() -> None:
    ours = [cell("auto", 0.9), cell("auto", 0.8, 1), cell("auto", 0.7, 2)]
    others = [cell("lora", 0.8), cell("lora", 0.7, 1)]
    assert difference(ours, others) == "+0.100 (+0.100 to +0.100)"
    assert difference(ours, [cell("lora", 0.5, 0, set="nli")]) == "-"


def test_the_spread_is_that_of_the_seeds() -> None:
    page = learning_table(results(cell("auto", 0.9), cell("auto", 0.8, 1)))
    assert "0.850 | 0.071" in page
