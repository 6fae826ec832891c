"""`cuecard table`: finished runs side by side."""

from __future__ import annotations

import csv
import io
import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from cuecard.metrics.seeds import rows_interval_of, seeds_interval
from cuecard.types import Interval
from support.command_line import Call


def save_run(
    folder: Path, *, seed: int = 0, length: int = 8, score: float = 0.5, **more: Any
) -> Path:
    """What a finished run leaves of its report."""
    interval = [score - 0.1, score + 0.1]
    costs = {"prompt_tokens": 10, "bytes_per_task": 1000, "seconds": None}
    rows = [
        {"prompt": "TF-IDF, 100% & more", "score": 0.4, "second": 0.4, "interval": None}
        | {"fit_cpu_seconds": None, **costs},
        {"prompt": "trained: prompt-tuning", "score": score, "second": score / 2}
        | {"interval": interval, "fit_cpu_seconds": 3.0 + seed, **costs},
    ]
    columns = ["prompt", "accuracy", "macro-F1", "95% interval", "prompt tokens/request"]
    table = {"columns": columns, "rows": rows, "notes": []}
    report = {"seed": seed, "data": {"data_hash": "aa"}, "table": table, **more}
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(report))
    recipe = f"out: {folder}\nmethod:\n  length: {length}\ntraining:\n  seed: {seed}\n"
    (folder / "recipe.yaml").write_text(recipe)
    return folder


def test_seeds_of_one_recipe_share_a_row(cuecard: Call, tmp_path: Path) -> None:
    scores = (0.5, 0.56, 0.62)
    runs = [save_run(tmp_path / f"run-{n}", seed=n, score=s) for n, s in enumerate(scores)]
    other = save_run(tmp_path / "longer", length=20, score=0.7)
    rows = cuecard("table", *runs, other, "--json").json["rows"]
    assert [(row["runs"], row["prompt"], row["seeds"]) for row in rows] == [
        (str(runs[0]), "TF-IDF, 100% & more", 3),
        (str(runs[0]), "trained: prompt-tuning", 3),
        (str(other), "TF-IDF, 100% & more", 1),
        (str(other), "trained: prompt-tuning", 1),
    ]
    mean = rows[1]
    expected = seeds_interval(
        scores, rows_interval_of(scores, [Interval(s - 0.1, s + 0.1) for s in scores])
    )
    assert mean["accuracy"] == pytest.approx(0.56) and mean["macro-F1"] == pytest.approx(0.28)
    assert mean["sd"] == pytest.approx(statistics.stdev(scores))
    assert (mean["low"], mean["high"]) == pytest.approx((expected.low, expected.high))
    assert mean["fit_cpu_seconds"] == 4.0
    assert rows[0]["sd"] == 0 and rows[0]["low"] is None and rows[0]["fit_cpu_seconds"] is None
    alone = rows[3]
    assert alone["sd"] is None and (alone["low"], alone["high"]) == pytest.approx((0.6, 0.8))


def test_how_a_run_was_run_makes_no_other_recipe(cuecard: Call, tmp_path: Path) -> None:
    runs = [save_run(tmp_path / f"run-{n}", seed=n) for n in range(2)]
    recipe = (runs[1] / "recipe.yaml").read_text()
    how = "  checkpoint_every: 5\n  activations: recompute\ndevice: cuda:1\ncompare: false\n"
    (runs[1] / "recipe.yaml").write_text(recipe + how)
    assert [row["seeds"] for row in cuecard("table", *runs, "--json").json["rows"]] == [2, 2]
    (runs[1] / "recipe.yaml").write_text(recipe + "task:\n  max_new_tokens: 3\n")
    assert [row["seeds"] for row in cuecard("table", *runs, "--json").json["rows"]] == [1] * 4


def test_every_form(cuecard: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [save_run(Path(f"r{n}"), seed=n, score=0.5 + n / 3) for n in range(2)]
    text = cuecard("table", *runs).out
    assert "trained: prompt-tuning" in text and "0.667" in text and "0.236" in text
    table = list(csv.DictReader(io.StringIO(cuecard("table", *runs, "--form", "csv").out)))
    assert float(table[1]["accuracy"]) == pytest.approx(0.5 + 1 / 6) and table[0]["low"] == ""
    assert table[1]["prompt_tokens"] == "10.0" and len(table) == 2
    place = tmp_path / "table.tex"
    done = cuecard("table", *runs, "--form", "latex", "--output", place)
    assert done.code == 0 and str(place) in done.out
    latex = place.read_text()
    assert latex.startswith("\\begin{tabular}{lrrrrrrrrr}\n\\toprule\n")
    assert r"TF-IDF, 100\% \& more & 2 & 0.400 & 0.000 & - &" in latex
    markdown = cuecard("table", *runs, "--form", "markdown").out
    assert markdown.count("\n") == 4 and "| 0.667 | 0.236 |" in markdown


def test_a_run_of_several_seeds_has_their_mean(cuecard: Call, tmp_path: Path) -> None:
    seeds = {"seeds": [0, 1], "scores": [0.5, 0.6], "metric": "accuracy", "accuracy": 0.55}
    entry = {"seeds": seeds | {"sd": 0.07, "ci95": {"accuracy": [0.2, 0.9]}}}
    rows = cuecard("table", save_run(tmp_path / "run", score=0.6, **entry), "--json").json["rows"]
    assert [row["seeds"] for row in rows] == [1, 2]
    assert [rows[1][name] for name in ("accuracy", "sd", "low", "high")] == [0.55, 0.07, 0.2, 0.9]


def test_what_is_no_table_is_refused(cuecard: Call, tmp_path: Path) -> None:
    run = save_run(tmp_path / "run")
    done = cuecard("table", run, tmp_path)
    assert done.code == 2 and "no finished run with tested rows" in done.err
    done = cuecard("table", run, save_run(tmp_path / "again"))
    assert done.code == 2 and "the same recipe and seed" in done.err and "seed 0" in done.err
    report = json.loads((run / "report.json").read_text())
    report["table"]["columns"][1:3] = ["RMSE", "R2"]
    (run / "report.json").write_text(json.dumps(report))
    done = cuecard("table", save_run(tmp_path / "third"), run)
    assert done.code == 2 and "different metrics" in done.err and "RMSE, R2" in done.err


def test_a_real_run_has_its_table_in_every_form(cuecard: Call, run: Path) -> None:
    """The run is compared with nothing: its own row is all."""
    (own,) = csv.DictReader((run / "report.csv").read_text().splitlines())
    report = json.loads((run / "report.json").read_text())
    assert own["prompt"] == "trained: prompt-tuning"
    assert float(own["accuracy"]) == report["table"]["rows"][0]["score"]
    assert "trained: prompt-tuning & " in (run / "report.tex").read_text()
    (row,) = cuecard("table", run, "--json").json["rows"]
    assert row["accuracy"] == float(own["accuracy"]) and row["seeds"] == 1
