"""The searches' benchmark on a tiny backbone: few shots, a folder's sets and tasks, the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.search.benchmark import main
from benchmarks.search.cells import Cell, Plan, Protocol
from benchmarks.search.score import mean_over_sets, sets_interval
from benchmarks.search.sets import Sizes, folder_task, shot_task
from benchmarks.search.tables import search_figure, search_table
from benchmarks.tables import TABLES
from cuecard.errors import ConfigError
from support.data.reviews import reviews
from support.tiny import tiny_model, tiny_tokenizer

CALLS = 160


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searches")
    model = tiny_model("llama")
    model.config.max_position_embeddings = 4096  # an LLM's requests are long
    model.save_pretrained(folder / "llama")
    tiny_tokenizer("").save_pretrained(folder / "llama")
    rows = [f'"{r.fields["text"]} {i}",{r.target}' for i, r in enumerate(reviews(240))]
    (folder / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return folder


def options(home: Path) -> list[str]:
    return [
        *("--backbone", str(home / "llama"), "--folder", str(home / "reviews.csv")),
        *("--sets", "sentiment", "--seeds", "13", "21", "--workers", "1"),
        *("--searchers", "demonstrations", "auto", "mipro", "soft prompt"),
        *("--shots", "8", "--test-rows", "12", "--calls", str(CALLS)),
        *("--cells", str(home / "cells"), "--out", str(home / "search.json")),
    ]


@pytest.fixture(scope="module")
def results(home: Path) -> dict[str, Any]:
    assert main(options(home)) == 0
    found: dict[str, Any] = json.loads((home / "search.json").read_text())
    return found


def test_every_contestant_has_its_numbers_within_the_budget(results: dict[str, Any]) -> None:
    rows = {row["contestant"]: row for row in results["rows"]}
    assert list(rows) == ["as it was", "demonstrations", "auto", "mipro", "soft prompt"]
    assert "--llm" in rows.pop("mipro")["unsupported"]
    for name, row in rows.items():
        own = [cell for cell in results["cells"] if cell["contestant"] == name]
        assert [cell["seed"] for cell in own] == [13, 21]
        assert row["test"] == pytest.approx(np.mean([cell["test"] for cell in own]))
        assert row["test_ci95"][0] <= row["test"] <= row["test_ci95"][1]
        for cell in own:
            assert 0 < cell["calls"] <= CALLS and cell["tokens"] > 0 and "{text}" in cell["text"]
            assert len(cell["right"]) == 12
            low, high = cell["validation_ci95"]
            assert low <= cell["validation"] <= high
    start = rows["as it was"]
    for name in ("demonstrations", "auto"):
        row = rows[name]
        assert row["validation"] >= start["validation"]
        assert row["minus_start"] == pytest.approx(row["test"] - start["test"])
        for cell in (each for each in results["cells"] if each["contestant"] == name):
            calls = [at for at, _ in cell["curve"]]
            assert len(calls) == cell["rounds"] + 1 and calls == sorted(calls)
    assert "minus_auto" in rows["demonstrations"] and "minus_auto" not in rows["auto"]


def test_started_again_it_runs_what_is_missing(home: Path, results: dict[str, Any]) -> None:
    cells = sorted((home / "cells").rglob("*.json"))
    before = {file: file.stat().st_mtime_ns for file in cells}
    gone = next(file for file in cells if file.name == "demonstrations-21.json")
    gone.unlink()
    assert main(options(home)) == 0
    after = {file: file.stat().st_mtime_ns for file in cells}
    assert [file for file in cells if before[file] != after[file]] == [gone]
    again = json.loads((home / "search.json").read_text())
    assert [_lasting(row) for row in again["rows"]] == [_lasting(row) for row in results["rows"]]


def test_the_tables_and_the_figure_are_made_of_them(results: dict[str, Any]) -> None:
    table, figure = search_table(results), search_figure(results)
    row = next(row for row in results["rows"] if row["contestant"] == "demonstrations")
    assert f"| demonstrations | {row['sets']['sentiment']:.3f} | {row['test']:.3f} (" in table
    assert "| mipro | no |" in table and "Best searcher alone: demonstrations" in table
    assert "demonstrations 0." in figure and f"{CALLS} calls" in figure
    marks = "a\n<!-- benchmarks/results/search.json -->\n<!-- end -->\nb\n"
    marks += "<!-- figure of benchmarks/results/search.json -->\nold\n<!-- end -->\nc"
    page = TABLES["search"].updated(marks, results)
    assert table in page and figure in page and "old" not in page and page.endswith("\nc")


def test_a_folders_sets_have_the_same_test_rows_for_all_seeds(tmp_path: Path) -> None:
    texts = [record.fields["text"] for record in reviews(40)]

    def lines(first: int, last: int) -> str:
        return "".join(
            json.dumps({"text": texts[i], "label": i % 2}) + "\n" for i in range(first, last)
        )

    for seed, at in ((13, 0), (21, 16)):
        place = tmp_path / "16" / "sst-2" / str(seed)
        place.mkdir(parents=True)
        (place / "train.jsonl").write_text(lines(at, at + 8))
        (place / "dev.jsonl").write_text(lines(at + 8, at + 16))
    (tmp_path / "16" / "sst-2" / "labels.json").write_text('["negative", "positive"]')
    (tmp_path / "sst2").mkdir()
    (tmp_path / "sst2" / "test.jsonl").write_text(lines(4, 40))
    first, second = (
        shot_task(tmp_path / "16", "sst-2", seed, Sizes(test=6), tmp_path) for seed in (13, 21)
    )
    assert first.test == second.test and len(first.test) == 6
    assert {r.texts["text"] for r in first.test} <= set(texts[32:])
    assert [r.texts["text"] for r in first.train] == texts[:8] and first.train[
        1
    ].target == "positive"
    for part in ("train", "dev"):
        (tmp_path / "16" / "sst-2" / "13" / f"{part}.jsonl").write_text(lines(0, 8))
    drawn = shot_task(tmp_path / "16", "sst-2", 13, Sizes(shots=2, test=6), tmp_path)
    assert sorted(str(r.target) for r in drawn.validation) == ["negative"] * 2 + ["positive"] * 2
    assert not {r.texts["text"] for r in drawn.validation} & {*texts[:8]}
    with pytest.raises(ConfigError, match="no such seed"):
        shot_task(tmp_path / "16", "sst-2", 42, Sizes(), tmp_path)


def test_an_llm_writes_for_tasks(home: Path) -> None:
    rows = [{"input": f"word {n}", "output": f"other {n}"} for n in range(60)]
    (home / "words.json").write_text(json.dumps({"examples": rows}))
    model = str(home / "llama")
    chosen = [
        "--tasks",
        str(home / "words.json"),
        "--tasks-only",
        "--solver",
        model,
        "--llm",
        model,
    ]
    chosen += ["--seeds", "13", "--workers", "1", "--searchers", "ape", "label-words"]
    chosen += ["--train-rows", "10", "--test-rows", "6", "--calls", "60"]
    assert main([*chosen, "--cells", str(home / "cells"), "--out", str(home / "tasks.json")]) == 0
    found = json.loads((home / "tasks.json").read_text())
    start, ape, words = found["cells"]
    assert "labels" in words["unsupported"]
    assert ape["protocol"] == "tasks" and start["calls"] <= ape["calls"] <= 60
    assert "llama writes" in search_table(found)
    assert found["plans"][0]["places"] == ["words.json"]
    assert str(home) not in json.dumps(found)


def test_a_task_keeps_its_cells_when_others_join(tmp_path: Path) -> None:
    def cell(protocol: Protocol, *places: str, calls: int = 60) -> Path:
        steps, sizes = (8, 8), Sizes()
        plan = Plan(protocol, "llama", None, calls, *steps, places, "", sizes)
        return Cell(plan, "words", 13, "ape").file(tmp_path)

    alone = cell("tasks", "words.json")
    assert cell("tasks", "words.json", "numbers.json") == alone
    assert cell("tasks", "words.json", calls=90) != alone
    # One folder of sets has other rows than another.
    assert cell("16-shot", "one") != cell("16-shot", "two")


@pytest.mark.parametrize("layout", ["bbh", "induction"])
def test_a_folders_tasks_are_read(layout: str, tmp_path: Path) -> None:
    if layout == "bbh":
        examples: Any = [
            {"input": f"Is {n} even?", "target": ["No", "Yes"][n % 2]} for n in range(60)
        ]
    else:
        examples = {
            str(n): {"input": f"word {n}", "output": [f"other {n}", "x"]} for n in range(60)
        }
    (tmp_path / "task.json").write_text(json.dumps({"examples": examples}))
    task = folder_task(tmp_path / "task.json", 13, Sizes(train=10, test=20), chat=False)
    other = folder_task(tmp_path / "task.json", 21, Sizes(train=10, test=20), chat=False)
    assert task.spec.labels == (("No", "Yes") if layout == "bbh" else ())
    assert [len(part) for part in (task.train, task.validation, task.test)] == [10, 10, 20]
    assert task.test == other.test and task.train != other.train
    (tmp_path / "task.json").write_text('{"examples": [{"cause": "a"}]}')
    with pytest.raises(ConfigError, match="example 1"):
        folder_task(tmp_path / "task.json", 13, Sizes(), chat=False)


def test_intervals_draw_seeds_and_rows_of_each_set() -> None:
    sure, split = np.ones((2, 50)), np.stack([np.zeros(50), np.ones(50)])
    for sets, ends in (([sure], (1, 1)), ([split], (0, 1)), ([sure, split], (0.5, 1))):
        found = sets_interval(sets)  # the split set's seeds differ
        assert (found.low, found.high) == pytest.approx(ends)
    assert mean_over_sets([sure, split]) == 0.75


def _lasting(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "cpu_s"}
