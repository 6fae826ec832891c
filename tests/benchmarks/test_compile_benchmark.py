"""The benchmark of compiled texts and ported prompts on tiny backbones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compile.benchmark import main
from benchmarks.compile.policy import made_policy
from benchmarks.compile.tables import compile_figure, compile_table
from benchmarks.compile.texts import TextSizes, extraction, policy
from benchmarks.methods.sets import SETS
from benchmarks.tables import TABLES
from support.command_line import save_tiny
from support.data.reviews import reviews

TEXTS = ("sentiment", "policy")


def options(home: Path) -> list[str]:
    return [
        *("--backbones", str(home / "one"), str(home / "two"), "--workers", "1"),
        *("--texts", *TEXTS, "--sets", "sentiment", "--data", str(home / "reviews.csv")),
        *("--folder", str(home), "--into", "4", "2", "--length", "2", "--steps", "2"),
        *("--batch", "4", "--demonstrations", "4", "--inputs", "48", "--unlabelled", "48"),
        *("--tests", "8", "--train-rows", "16", "--validation-rows", "8", "--max-length", "24"),
        *("--cells", str(home / "cells"), "--out", str(home / "compile.json")),
    ]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compile")
    save_tiny(folder / "one"), save_tiny(folder / "two", seed=1)
    rows = [f'"{r.fields["text"]} {i}",{r.target}' for i, r in enumerate(reviews(240))]
    (folder / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    (folder / "policy.md").write_text("it is good for one , bad for none .")
    asked = [{"question": f"is it {r.fields['text']} ?"} for r in reviews(48)]
    # Whatever a tiny model says holds nothing, so that every test counts.
    known = [{"question": f"why {r.fields['text']} ?", "answer": ""} for r in reviews(8)]
    lines = [json.dumps(row) + "\n" for row in (*asked, *known)]
    (folder / "questions.jsonl").write_text("".join(lines))
    assert main(options(folder)) == 0
    return folder


@pytest.fixture(scope="module")
def results(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home / "compile.json").read_text())
    return found


def test_every_text_has_every_length_beside_every_way(results: dict[str, Any]) -> None:
    assert [(c["backbone"], c["text"]) for c in results["compiled"]] == [
        (model, text) for model in ("one", "two") for text in TEXTS
    ]
    for cell in results["compiled"]:
        told = {(row["way"], row["length"]): row for row in cell["rows"]}
        full = told["full text", cell["text_tokens"]]
        assert full["agreement"] > 0.9 and full["minus_full"] == 0  # to rounding
        for length in (2, 4):
            for way in ("compiled", "first tokens", "last tokens", "informative tokens"):
                row = told[way, length]
                assert row["minus_full"] == pytest.approx(row["score"] - full["score"])
        assert ("no text", 0) in told and set(cell["cpu_s"]) == {"2", "4"}
        assert cell["tests"] == cell["asked"] == 8
        ways = ("compiled, 2", "compiled, 4", "full text, prefix kept", "full text, run anew")
        assert tuple(cell["served"]) == ways
        assert [each["positions"] for each in cell["served"].values()] == [
            *(2, 4),
            *(cell["text_tokens"],) * 2,
        ]
        assert cell["times"]["rerun_cpu_s"] > cell["times"]["step_cpu_s"] > 0


def test_prompts_go_both_ways(results: dict[str, Any]) -> None:
    assert [(c["old"], c["new"]) for c in results["ported"]] == [("one", "two"), ("two", "one")]
    trained = {cell["backbone"]: cell for cell in results["trained"]}
    for cell in results["ported"]:
        (row,) = cell["sets"]
        assert row["old"] == pytest.approx(trained[cell["old"]]["test"])
        assert row["anew"] == trained[cell["new"]]["test"]
        low, high = row["ported_minus_old_ci95"]
        assert low <= row["ported"] - row["old"] <= high


def test_finished_cells_are_kept(home: Path, results: dict[str, Any]) -> None:
    cells = {path: path.stat().st_mtime_ns for path in (home / "cells").glob("*/*/*/*.json")}
    assert len(cells) >= 6
    assert main(options(home)) == 0
    assert {path: path.stat().st_mtime_ns for path in cells} == cells
    assert json.loads((home / "compile.json").read_text())["compiled"] == results["compiled"]


def test_the_page_shows_length_against_fidelity(results: dict[str, Any]) -> None:
    table, figure = compile_table(results), compile_figure(results)
    assert "**policy, one**" in table and "**Ported from one to two**" in table
    assert table.count("| compiled |") == 8 and "labelled rows." in table
    assert table.count("| full text, run anew |") == 4
    assert figure.count("compiled") == 8 and "●" in figure
    assert compile_table({}) == compile_figure({}) == "Not measured yet."
    doc = TABLES["compile"]
    assert doc.updated(doc.page.read_text(), results).count("**policy, one**") == 1


def test_an_extraction_prompt_stands_in_front_of_news(tmp_path: Path) -> None:
    labels = SETS["topic"].labels
    rows = [f"news of day {i},{labels[i % len(labels)]}" for i in range(160)]
    (tmp_path / "news.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    text = extraction(TextSizes(inputs=40, tests=4), str(tmp_path / "news.csv"))
    assert len(text.inputs) == 10 and text.tests == ()
    assert "[person,organization,place,event]" in text.content and "{" not in text.content
    assert text.spec.template.startswith("{prompt}") and "{text}" in text.spec.template


def test_a_made_policy_holds_every_answer() -> None:
    made = made_policy()
    assert made == made_policy() != made_policy(seed=1)
    assert len(made.tests) == 240 and len(made.inputs) == 480
    assert len({one.text for one in (*made.inputs, *made.tests)}) == 720
    assert all(one.answer in made.text for one in made.tests)
    text = policy(TextSizes(inputs=300, tests=100))
    assert (len(text.inputs), len(text.tests)) == (300, 200)
    assert all(record.target is None for record in text.inputs)
