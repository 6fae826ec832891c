"""The multitask benchmark on a tiny backbone: sources, what they share, targets, the page."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from benchmarks.multitask.benchmark import main
from benchmarks.multitask.cells import CONTESTANTS, Cell, Plan
from benchmarks.multitask.sets import SETS, SOURCES, TARGETS, Rows, records_of, target_task
from benchmarks.multitask.tables import multitask_table
from cuecard.errors import ConfigError
from support.data.reviews import reviews
from support.tiny import tiny_model, tiny_tokenizer

CHOSEN, LENGTH, WIDTH = ("stars", "spam", "sentiment"), 3, 32


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backbone, and a wheel of tables that all ask for the mood of reviews."""
    folder = tmp_path_factory.mktemp("multitask")
    tiny_model("llama").save_pretrained(folder / "llama")
    tiny_tokenizer("").save_pretrained(folder / "llama")
    with zipfile.ZipFile(folder / "probes.whl", "w") as wheel:
        for number, name in enumerate(CHOSEN):
            rows = [
                (f"{one.fields['text']} {at}", int(one.target == "positive"))
                for at, one in enumerate(reviews(120, seed=number))
            ]
            place = f"sae_probes/data/cleaned_data/{SETS[name].table}.csv.gz"
            wheel.writestr(place, table(rows))
    return folder


def table(rows: list[tuple[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([("prompt", "target"), *rows])
    return gzip.compress(text.getvalue().encode())


def options(home: Path) -> list[str]:
    sizes = {
        "length": LENGTH,
        "source-steps": 2,
        "steps": 2,
        "batch-rows": 4,
        "source-rows": 16,
        "validation-rows": 8,
        "source-test-rows": 4,
        "test-rows": 12,
        "workers": 1,
    }
    return [
        *("--backbone", str(home / "llama"), "--package", str(home / "probes.whl")),
        *("--sources", "stars", "spam", "--targets", "sentiment"),
        *("--examples", "8", "16", "--seeds", "13", "21"),
        *(word for name, size in sizes.items() for word in (f"--{name}", str(size))),
        *("--cells", str(home / "cells"), "--out", str(home / "multitask.json")),
    ]


@pytest.fixture(scope="module")
def results(home: Path) -> dict[str, Any]:
    assert main(options(home)) == 0
    found: dict[str, Any] = json.loads((home / "multitask.json").read_text())
    return found


def test_every_contestant_has_its_numbers(results: dict[str, Any]) -> None:
    rows = results["rows"]
    assert [(row["contestant"], row["examples"]) for row in rows] == [
        (name, examples) for name in CONTESTANTS for examples in (8, 16)
    ]
    alone = LENGTH * WIDTH
    mixes = alone + 2 * 100 * WIDTH + 2 * WIDTH
    trained = dict(zip(CONTESTANTS, (alone, alone, alone + LENGTH + WIDTH, mixes), strict=True))
    for row in rows:
        own = [
            cell
            for cell in results["cells"]
            if (cell["contestant"], cell.get("examples")) == (row["contestant"], row["examples"])
        ]
        assert [cell["seed"] for cell in own] == [13, 21] and row["cpu_s"] > 0
        assert row["trained"] == trained[row["contestant"]]
        assert row["test"] == pytest.approx(sum(cell["test"] for cell in own) / 2)
        assert row["test_ci95"][0] <= row["test"] <= row["test_ci95"][1]
        assert ("minus_alone" in row) is (row["contestant"] != "prompt tuning")
        for cell in own:
            assert len(cell["right"]) == 12 and cell["train_rows"] == row["examples"]
            assert cell["validation_rows"] == 8
            assert cell.get("from") in (
                {"stars", "spam"} if row["contestant"] == "SPoT" else {None}
            )


def test_started_again_it_runs_what_is_missing(home: Path, results: dict[str, Any]) -> None:
    before = {file: file.stat().st_mtime_ns for file in (home / "cells").rglob("*.json")}
    gone = next(file for file in before if file.name == "ATTEMPT-16-21.json")
    gone.unlink()
    assert main(options(home)) == 0
    assert [f for f in before if f.exists() and before[f] != f.stat().st_mtime_ns] == [gone]
    again = json.loads((home / "multitask.json").read_text())
    assert [row["test"] for row in again["rows"]] == [row["test"] for row in results["rows"]]


def test_a_target_waits_for_its_sources(tmp_path: Path) -> None:
    plan = Plan("any", sources=("stars", "spam"))
    assert Cell(plan, "prompt tuning", "topic", 16, 13).ready(tmp_path)
    for name in ("SPoT", "ATTEMPT", "MPT"):
        assert not Cell(plan, name, "topic", 16, 13).ready(tmp_path)
    for source in plan.sources:
        place = Cell(plan, "source", source).file(tmp_path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("{}")
    assert Cell(plan, "SPoT", "topic", 16, 13).ready(tmp_path)
    assert Cell(plan, "shared").ready(tmp_path)
    assert not Cell(plan, "MPT", "topic", 16, 13).ready(tmp_path)


def test_targets_are_no_sources_and_seeds_have_the_same_test_rows(home: Path) -> None:
    assert len(SOURCES) >= 12 and len(TARGETS) >= 6
    assert len({one.table for one in (*SOURCES, *TARGETS)}) == len(SOURCES) + len(TARGETS)
    package, rows = home / "probes.whl", Rows(validation=8, test=12)
    one, other = (target_task("sentiment", 8, seed, rows, package) for seed in (13, 21))
    assert one.test == other.test and one.train != other.train
    texts = [{r.fields["text"] for r in part} for part in (one.train, one.validation, one.test)]
    assert [len(part) for part in texts] == [8, 8, 12] and len(set().union(*texts)) == 28
    assert {str(r.target) for r in one.train} == {"negative", "positive"}
    with zipfile.ZipFile(home / "odd.whl", "w") as wheel:
        name = f"sae_probes/data/cleaned_data/{SETS['spam'].table}.csv.gz"
        wheel.writestr(name, table([("a message", "maybe")]))
    with pytest.raises(ConfigError, match="no word stands for"):
        records_of(SETS["spam"], home / "odd.whl")


def test_the_table_is_made_of_them(results: dict[str, Any]) -> None:
    found = multitask_table(results)
    row = results["rows"][0]
    assert f"| 8 | prompt tuning | {row['sets']['sentiment']:.3f} | {row['test']:.3f} (" in found
    each = LENGTH * WIDTH + LENGTH + WIDTH  # of one target, P* is its own
    assert f"{each:,} for each of these 1, of which {LENGTH + WIDTH:,} are its own" in found
