"""The comparison's benchmark on a tiny backbone: its cells, its table, its verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.compare.benchmark import WORDS, main
from benchmarks.compare.tables import compare_table
from benchmarks.tables import TABLES
from support.data.reviews import reviews
from support.tiny import tiny_model, tiny_tokenizer

NAMES = ("majority", "tfidf", "zero-shot", "in-context", "prompt-tuning", "lora", "full")


def options(home: Path) -> list[str]:
    model = str(home / "llama")
    return [
        *("--backbones", model, "--encoder", model, "--data", str(home / "reviews.csv")),
        *("--sets", "sentiment", "long reviews", "--workers", "1", "--steps", "3"),
        *("--contestants", *NAMES, "--rates", "1", "--batch", "4", "--train-rows", "24"),
        *("--validation-rows", "12", "--test-rows", "16", "--max-length", "24"),
        *("--cells", str(home / "cells"), "--out", str(home / "compare.json")),
    ]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    tiny_model("llama").save_pretrained(folder / "llama")
    tiny_tokenizer("").save_pretrained(folder / "llama")
    rows = [f'"{r.fields["text"]} {i}",{r.target}' for i, r in enumerate(reviews(240))]
    (folder / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    assert main(options(folder)) == 0
    return folder


@pytest.fixture(scope="module")
def results(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home / "compare.json").read_text())
    return found


def test_a_row_is_the_mean_of_its_cells(results: dict[str, Any]) -> None:
    assert len(results["cells"]) == 2 * len(NAMES)
    (rows,) = results["models"].values()
    by_name = {row["contestant"]: row for row in rows}
    assert list(by_name) == list(NAMES)
    for name, row in by_name.items():
        own = [cell for cell in results["cells"] if cell["contestant"] == name]
        assert row["test"] == pytest.approx(np.mean([cell["test"] for cell in own]))
        low, high = row["test_ci95"]
        assert low <= row["test"] <= high
        assert row["parameters"] == np.mean([cell["parameters"] for cell in own])
        for other, found in row["minus"].items():
            if other != WORDS:
                assert found["value"] == pytest.approx(row["test"] - by_name[other]["test"])
    assert by_name["prompt-tuning"]["changed"] is False and by_name["lora"]["changed"] is True
    words = [cell for cell in results["cells"] if cell.get("words")]
    best = [
        max((each for each in words if each["set"] == one), key=lambda each: each["validation"])
        for one in ("sentiment", "long reviews")
    ]
    found = by_name["lora"]["minus"][WORDS]["value"]
    own_mean = np.mean([each["test"] for each in best])
    assert found == pytest.approx(by_name["lora"]["test"] - own_mean)


def test_finished_cells_are_kept_and_what_they_were_made_from_is_not(
    home: Path, results: dict[str, Any]
) -> None:
    files = {path: path.stat().st_mtime_ns for path in (home / "cells").rglob("*.json")}
    assert len(files) == 2 * len(NAMES)
    assert not list((home / "cells").rglob("*.pt"))
    assert main(options(home)) == 0
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert json.loads((home / "compare.json").read_text())["cells"] == results["cells"]


def test_the_page_says_who_wins_and_who_loses(results: dict[str, Any]) -> None:
    table = compare_table(results)
    assert "**llama**" in table and table.count("| lora |") == 1
    row = {row["contestant"]: row for row in results["models"]["llama"]}["prompt-tuning"]
    row["minus"]["lora"] = {"value": -0.2, "ci95": [-0.3, -0.1]}
    row["minus"]["tfidf"] = {"value": 0.2, "ci95": [0.1, 0.3]}
    row["minus"]["full"] = {"value": 0.0, "ci95": [-0.1, 0.1]}
    told = compare_table(results)
    assert "- prompt-tuning loses to lora: -0.200 (-0.300 to -0.100)." in told
    assert "- prompt-tuning is better than tfidf: +0.200" in told
    assert "- prompt-tuning is not told apart from full: +0.000" in told
    assert compare_table({}) == "Not measured yet."
    page = TABLES["compare"].page.read_text()
    assert TABLES["compare"].updated(page, results).count("**llama**") == 1
