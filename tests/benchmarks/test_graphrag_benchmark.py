"""The extraction benchmark on a tiny model: its cells, its numbers, the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.graphrag.benchmark import main
from benchmarks.graphrag.scores import summary_rows
from benchmarks.graphrag.server import HOME, python_of_graphrag
from benchmarks.graphrag.tables import graphrag_figure, graphrag_table
from cuecard.errors import ConfigError, FileError
from support.tiny import tiny_model, tiny_tokenizer

# Without GraphRAG's own, which need its environment.
GOLD = ("tuned on gold", "tuned on gold, in JSON")
OURS = ("generic", "tuned", *GOLD, "optimised", "soft")
PEOPLE, PLACES = ("Ann Lee", "Bo Berg", "Caro Diaz"), ("Skelby", "Tarn", "Port Amsel")


def gold_line(number: int) -> str:
    person, place = PEOPLE[number % 3], PLACES[number // 3 % 3]
    text = f"{person} lives in {place} since {1900 + number}."
    entities = [
        {"id": 0, "text": person, "type": "Peop"},
        {"id": 1, "text": place, "type": "Loc"},
        {"id": 2, "text": str(1900 + number), "type": "Other"},
        {"id": 3, "text": "lives", "type": "Org"},
    ]
    relations = [{"head": 0, "tail": 1, "type": "Live_In"}]
    return json.dumps({"text": text, "entities": entities, "relations": relations}) + "\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("extraction")
    model = tiny_model("llama")
    model.config.max_position_embeddings = 8192  # prompts are long in tokens of few letters
    model.save_pretrained(folder / "llama")
    tiny_tokenizer("").save_pretrained(folder / "llama")
    corpus = folder / "corpora" / "ie_conll04"
    corpus.mkdir(parents=True)
    (corpus / "train.jsonl").write_text("".join(map(gold_line, range(40))))
    (corpus / "test.jsonl").write_text("".join(map(gold_line, range(60, 72))))
    return folder


def options(home: Path) -> list[str]:
    model = str(home / "llama")
    return [
        *("--corpora", str(home / "corpora"), "--sets", "conll04", "--models", model),
        *("--texts", "5", "--solved", "6", "--searched", "20", "--trained", "20", "--corpus", "4"),
        *("--answer-tokens", "6", "--calls", "40", "--steps", "2", "--batch-rows", "2"),
        *("--contestants", *OURS, "--train", model, "--workers", "1"),
        *("--cells", str(home / "cells"), "--out", str(home / "graphrag.json")),
    ]


@pytest.fixture(scope="module")
def results(home: Path) -> dict[str, Any]:
    assert main(options(home)) == 0
    found: dict[str, Any] = json.loads((home / "graphrag.json").read_text())
    return found


def test_every_contestant_has_its_numbers_or_why_not(results: dict[str, Any]) -> None:
    rows = {row["contestant"]: row for row in results["rows"]}
    assert tuple(rows) == OURS
    # A random model solves no example.
    assert "no example could be read" in rows.pop("tuned")["unsupported"]
    for row in rows.values():
        assert row["texts"] == 5 and row["seeds"] == 1
        assert 0 < row["written"] <= 6 and row["read"] > row["written"]
        for score in row["scores"].values():
            low, high = score["ci95"]["f1"]
            assert low <= score["f1"] <= high
    assert rows["optimised"]["read"] > rows["soft"]["read"]  # the instruction is in its vectors
    assert 0 < rows["optimised"]["made"]["calls"] <= 40
    assert rows["generic"]["made"]["calls"] == 0 < rows["soft"]["made"]["tokens"]
    assert set(rows["soft"]["gains"]) == {"generic", "optimised", *GOLD}


def test_no_text_of_a_corpus_is_in_the_results(home: Path, results: dict[str, Any]) -> None:
    told = (home / "graphrag.json").read_text()
    assert not any(name in told for name in (*PEOPLE, *PLACES, str(home)))


def test_started_again_it_runs_what_is_missing(home: Path, results: dict[str, Any]) -> None:
    cells = sorted(path for path in (home / "cells").glob("*/*/*/*/*.json"))
    assert len(cells) == 6
    before = {file: file.stat().st_mtime_ns for file in cells}
    again = next(file for file in cells if file.stem == "generic")
    first = json.loads(again.read_text())
    again.unlink()
    assert main(options(home)) == 0
    second = json.loads(again.read_text())
    assert second["counts"] == first["counts"]
    assert all(file.stat().st_mtime_ns == before[file] for file in cells if file != again)


def test_a_folder_without_the_set_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such gold set"):
        main([*options(home), "--corpora", str(tmp_path)])


def test_without_its_environment_graphrag_is_told_to_be_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert HOME.name == ".graphrag"
    monkeypatch.setattr("benchmarks.graphrag.server.HOME", tmp_path)
    with pytest.raises(ConfigError, match="GraphRAG is not installed"):
        python_of_graphrag()


def cell(contestant: str, counts: list[list[int]], seed: int = 0) -> dict[str, Any]:
    own = {"model": "m", "set": "s", "seed": seed, "contestant": contestant}
    return {
        **own,
        "made": {"calls": 7, "tokens": 9, "cpu_s": 2.0},
        "counts": {"entities, strict": counts},
        "conforms": [True, False],
        "read": 100.0,
        "written": 20.0,
        "cut": 0,
        "cpu_s": 4.0,
    }


def test_seeds_are_added_up_and_gains_are_paired() -> None:
    found = [
        cell("generic", [[1, 4, 2], [0, 2, 2]]),
        cell("tuned", [[2, 2, 2], [1, 2, 2]]),
        cell("tuned", [[2, 4, 2], [1, 1, 2]], seed=1),
    ]
    generic, tuned = summary_rows(found)
    assert generic["scores"]["entities, strict"]["f1"] == pytest.approx(2 * 1 / (6 + 4))
    strict = tuned["scores"]["entities, strict"]
    assert strict["f1"] == pytest.approx(2 * 6 / (9 + 8))
    assert strict["precision"] == pytest.approx(6 / 9)
    assert strict["recall"] == pytest.approx(6 / 8)
    gain = tuned["gains"]["generic"]["entities, strict"]
    assert gain["value"] == pytest.approx(strict["f1"] - 0.2)
    assert gain["ci95"][0] <= gain["value"] <= gain["ci95"][1]
    assert tuned["seeds"] == 2 and tuned["conformance"] == 0.5


def test_the_page_shows_them(results: dict[str, Any]) -> None:
    table, figure = graphrag_table(results), graphrag_figure(results)
    assert "**conll04, llama**" in table
    assert "Not measured: tuned: " in table
    (line,) = [each for each in table.splitlines() if each.startswith("| soft |")]
    assert line.count("|") == table.splitlines()[2].count("|")
    assert figure.count("●") == 5
    assert graphrag_table({}) == graphrag_figure({}) == "Not measured yet."
