"""The few-shot benchmark on a tiny backbone: its contestants, their rates, the page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.fewshot.benchmark import main
from benchmarks.fewshot.cells import Cell, Plan
from benchmarks.fewshot.contestants import CONTESTANTS, LATE, LATE_HEAD, META, SHARED, Starts
from benchmarks.fewshot.tables import fewshot_figure, fewshot_table
from benchmarks.search.sets import Sizes, shot_rows
from benchmarks.tables import TABLES
from cuecard import load_backbone
from cuecard.artifacts.meta_init import MetaInit
from cuecard.errors import ConfigError
from support.data.reviews import reviews
from support.tiny import tiny_model, tiny_tokenizer

TRAINED = [name for name, one in CONTESTANTS.items() if one.rates and name != SHARED]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fewshot")
    tiny_model("llama").save_pretrained(folder / "llama")
    tiny_tokenizer("").save_pretrained(folder / "llama")
    rows = [f'"{r.fields["text"]} {i}",{r.target}' for i, r in enumerate(reviews(240))]
    (folder / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    backbone = load_backbone(str(folder / "llama"), device="cpu")
    start = backbone.embeddings[:20].detach().float().clone()
    MetaInit.create(start, backbone, ["other"], {}, 1).save(folder / "init.safetensors")
    return folder


def options(home: Path) -> list[str]:
    model = str(home / "llama")
    return [
        *("--backbone", model, "--encoder", model, "--folder", str(home / "reviews.csv")),
        *("--sets", "sentiment", "--seeds", "13", "21", "--workers", "1", "--steps", "2"),
        *("--shots", "8", "--test-rows", "12", "--unlabelled", "8", "--batch", "4"),
        *("--meta", str(home / "init.safetensors")),
        *("--cells", str(home / "cells"), "--out", str(home / "fewshot.json")),
    ]


@pytest.fixture(scope="module")
def results(home: Path) -> dict[str, Any]:
    assert main(options(home)) == 0
    found: dict[str, Any] = json.loads((home / "fewshot.json").read_text())
    return found


def test_every_contestant_has_its_numbers(results: dict[str, Any]) -> None:
    rows = {row["contestant"]: row for row in results["rows"]}
    assert list(rows) == [name for name in CONTESTANTS if name != SHARED]  # nothing was given
    for name, row in rows.items():
        own = [cell for cell in results["cells"] if cell["contestant"] == name]
        assert [cell["seed"] for cell in own] == [13, 21]
        assert row["test"] == pytest.approx(np.mean([cell["test"] for cell in own]))
        assert row["deviation"] == pytest.approx(np.std([cell["test"] for cell in own], ddof=1))
        assert row["test_ci95"][0] <= row["test"] <= row["test_ci95"][1]
        assert {len(cell["right"]) for cell in own} == {12}
        for other, beside in row["minus"].items():
            assert beside["value"] == pytest.approx(row["test"] - rows[other]["test"])
    assert "8 unlabelled rows" in json.dumps(results["cells"])


def test_the_first_seed_chooses_a_rate_by_validation_loss(results: dict[str, Any]) -> None:
    def rates(name: str) -> list[float]:
        return [cell["rate"] for cell in results["cells"] if cell["contestant"] == name]

    for name in TRAINED:
        first, second = (cell for cell in results["cells"] if cell["contestant"] == name)
        losses = {float(rate): loss for rate, loss in first["losses"].items()}
        assert tuple(losses) == CONTESTANTS[name].rates
        assert first["rate"] == second["rate"] == min(losses, key=lambda rate: losses[rate])
        assert list(second["losses"]) == [f"{first['rate']:g}"]
    assert rates("pet") == rates("prompt, text")


def test_started_again_it_runs_what_is_missing(home: Path, results: dict[str, Any]) -> None:
    cells = sorted((home / "cells").rglob("*.json"))
    before = {file: file.stat().st_mtime_ns for file in cells}
    gone = next(file for file in cells if file.name == "lora-21.json")
    gone.unlink()
    assert main(options(home)) == 0
    after = {file: file.stat().st_mtime_ns for file in cells}
    assert [file for file in cells if before[file] != after[file]] == [gone]
    again = json.loads((home / "fewshot.json").read_text())
    assert [row["test"] for row in again["rows"]] == [row["test"] for row in results["rows"]]


def test_either_is_the_better_one_on_the_validation_rows(results: dict[str, Any]) -> None:
    def cells(name: str) -> list[dict[str, Any]]:
        return [cell for cell in results["cells"] if cell["contestant"] == name]

    pairs = zip(cells(LATE), cells(LATE_HEAD), cells("late p-tuning v2, either"), strict=True)
    for words, head, either in pairs:
        best = head if head["validation"] > words["validation"] else words
        assert either["note"] == best["contestant"] and either["right"] == best["right"]
        assert either["cpu_s"] == words["cpu_s"] + head["cpu_s"]


def test_the_table_and_the_figure_are_made_of_them(results: dict[str, Any]) -> None:
    table, figure = fewshot_table(results), fewshot_figure(results)
    row = next(row for row in results["rows"] if row["contestant"] == "pet")
    assert f"| pet | {row['sets']['sentiment']:.3f} | {row['test']:.3f} (" in table
    assert "Best of the prompts: " in table and f"{'pet':24} {row['test']:.3f} |" in figure
    marks = "a\n<!-- benchmarks/results/fewshot.json -->\n<!-- end -->\nb\n"
    marks += "<!-- figure of benchmarks/results/fewshot.json -->\nold\n<!-- end -->\nc"
    page = TABLES["fewshot"].updated(marks, results)
    assert table in page and figure in page and "old" not in page and page.endswith("\nc")


def test_a_set_without_test_rows_is_tested_on_those_of_other_seeds(tmp_path: Path) -> None:
    texts = [record.fields["text"] for record in reviews(48)]
    for seed, at in ((13, 0), (21, 16), (42, 32)):
        place = tmp_path / "cr" / str(seed)
        place.mkdir(parents=True)
        for part, first in (("train", at), ("dev", at + 8)):
            rows = [{"text": texts[i], "label": i % 2} for i in range(first, first + 8)]
            (place / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "cr" / "labels.json").write_text('["negative", "positive"]')
    for seed, at in ((13, 0), (21, 16)):
        found = shot_rows(tmp_path, "cr", seed, Sizes(test=20))
        own = {*texts[at : at + 16]}
        tested = {record.texts["text"] for record in found.task.test}
        rest = found.unlabelled(10, seed)
        assert len(tested) == 20 and tested < {*texts} - own
        assert len(rest) == 10 and all(record.target is None for record in rest)
        assert not {record.texts["text"] for record in rest} & (own | tested)
    plan = Plan("llama", "llama", 2, 4, 13, 8, str(tmp_path), sizes=Sizes(shots=4, test=20))
    assert len(plan.rows("cr", 13).task.train) == 8
    with pytest.raises(ConfigError, match="their own number of rows") as refused:
        replace(plan, sizes=Sizes(shots=32, test=20)).rows("cr", 13)
    assert (refused.value.got, refused.value.expected) == ("32", "4")
    for seed in (21, 42):
        for file in (tmp_path / "cr" / str(seed)).iterdir():
            file.unlink()
        (tmp_path / "cr" / str(seed)).rmdir()
    with pytest.raises(ConfigError, match="no test rows"):
        shot_rows(tmp_path, "cr", 13, Sizes())


def test_a_start_given_later_leaves_what_was_run(home: Path) -> None:
    plan = Plan("llama", "llama", 2, 4, 13, 8)
    later = replace(plan, starts=Starts(meta=str(home / "init.safetensors")))
    for name in (*CONTESTANTS,):
        files = [Cell(each, "sentiment", name, 13).file(home) for each in (plan, later)]
        assert (files[0] == files[1]) is (name != META)
