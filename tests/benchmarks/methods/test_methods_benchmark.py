"""The methods' benchmark on a tiny backbone: every contestant, a kill in the middle, the table."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.methods.benchmark import main
from benchmarks.methods.cells import contestants
from benchmarks.methods.score import as_right, gain_interval, score_interval
from benchmarks.methods.tables import methods_figure, methods_table
from benchmarks.places import ROOT
from benchmarks.tables import TABLES
from cuecard.methods import METHODS
from support.data.reviews import reviews
from support.tiny import tiny_model, tiny_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

FEW = ["--sets", "sentiment", "--train-rows", "24", "--validation-rows", "8", "--test-rows", "16"]
SHORT = ["--steps", "4", "--seeds", "2", "--workers", "1"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two tiny models, one of each family, and a tiny set."""
    folder = tmp_path_factory.mktemp("methods")
    for kind, around in (("llama", ""), ("t5-gated", "$A </s>")):
        tiny_model(kind).save_pretrained(folder / kind)
        tiny_tokenizer(around).save_pretrained(folder / kind)
    rows = [f'"{r.fields["text"]} {i}",{r.target}' for i, r in enumerate(reviews(240))]
    (folder / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return folder


def options(home: Path, *models: str) -> list[str]:
    return ["--models", *(str(home / m) for m in models), "--data", str(home / "reviews.csv"), *FEW]


def places(out: Path) -> list[str]:
    return ["--folder", str(out / "cells"), "--out", str(out / "methods.json")]


@pytest.fixture(scope="module")
def results(home: Path) -> dict[str, Any]:
    out = home / "whole"
    assert main([*options(home, "llama", "t5-gated"), *SHORT, *places(out)]) == 0
    found: dict[str, Any] = json.loads((out / "methods.json").read_text())
    return found


def test_every_contestant_has_its_numbers(results: dict[str, Any]) -> None:
    rows = {(Path(r["model"]).name, r["contestant"]): r for r in results["rows"]}
    methods = {*METHODS} - {"mpt", "attempt", "coop", "cocoop", "maple", "promptsrc"}
    assert {name for _, name in rows} == {"majority", "by hand", "lora", "full", *methods}
    for (model, name), row in rows.items():
        if "unsupported" in row:
            assert model == "t5-gated" and METHODS[name].injects[0] in ("prefix-kv", "layer-tokens")
            continue
        assert row["ci95"][0] <= row["score"] <= row["ci95"][1]
        assert row["score"] == pytest.approx(np.mean(row["seeds"]))
        assert len(row["seeds"]) == (1 if name in ("majority", "by hand") else 2)
    lora, full = rows["llama", "lora"], rows["llama", "full"]
    hidden, middle, keys = 32, 48, 16
    # Rank 8 on q, k, v, o and the three of the MLP, in two layers.
    pairs = [(hidden, hidden)] * 2 + [(hidden, keys)] * 2 + [(hidden, middle)] * 3
    assert lora["parameters"] == 2 * 8 * sum(a + b for a, b in pairs)
    assert lora["bytes"] == 4 * lora["parameters"]
    matrices = sum(a * b for a, b in pairs) * 2 + 2 * 384 * hidden  # embeddings and head
    assert full["parameters"] == matrices
    prompt = rows["llama", "prompt-tuning"]
    assert prompt["bytes"] == 4 * prompt["parameters"]
    assert prompt["minus_by_hand"] == pytest.approx(
        prompt["score"] - rows["llama", "by hand"]["score"]
    )
    assert {"minus_by_hand_ci95", "minus_lora_ci95"} <= set(prompt)


def test_the_table_and_the_figure_are_made_of_them(results: dict[str, Any]) -> None:
    table, figure = methods_table(results), methods_figure(results)
    row = next(r for r in results["rows"] if r["contestant"] == "prompt-tuning")
    assert f"| prompt-tuning | {row['score']:.3f} (" in table
    assert "**llama**" in table and "**t5-gated**" in table
    assert "| prefix-tuning | no | - | - | - |" in table  # the encoder-decoder's
    assert "- sentiment: best method " in table and "beside LoRA" in table
    assert f"prompt-tuning {row['score']:.3f}, {row['bytes']:,} B" in figure
    marks = "a\n<!-- benchmarks/results/methods.json -->\n<!-- end -->\nb\n"
    marks += "<!-- figure of benchmarks/results/methods.json -->\nold\n<!-- end -->\nc"
    marks += "\n<!-- benchmarks/results/methods_few.json -->\nof few\n<!-- end -->\nc"
    page = TABLES["methods"].updated(marks, results)
    page = TABLES["methods_few"].updated(page, {})
    assert table in page and figure in page and "old" not in page and page.endswith("\nc")
    assert "of few" not in page


def test_started_again_it_redoes_nothing(home: Path, results: dict[str, Any]) -> None:
    cells = sorted((home / "whole" / "cells").rglob("*.json"))
    before = [file.stat().st_mtime_ns for file in cells]
    assert main([*options(home, "llama", "t5-gated"), *SHORT, *places(home / "whole")]) == 0
    assert [file.stat().st_mtime_ns for file in cells] == before
    again = json.loads((home / "whole" / "methods.json").read_text())
    assert again["rows"] == results["rows"]


@pytest.mark.integration
def test_a_killed_run_goes_on_and_ends_the_same(home: Path) -> None:
    chosen = [*options(home, "llama"), "--methods", "prompt-tuning", "--seeds", "1"]
    chosen += ["--workers", "1", "--steps", "64"]
    whole, killed = home / "one", home / "two"
    assert main([*chosen, *places(whole)]) == 0
    command = [sys.executable, "-m", "benchmarks.methods", *chosen, *places(killed)]
    child = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
    checkpoint = None
    while child.poll() is None and checkpoint is None:
        checkpoint = next((killed / "cells").rglob("checkpoint.pt"), None)
        time.sleep(0.01)
    assert checkpoint is not None, "it was at its end before it could be killed"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    done = sorted((killed / "cells").rglob("by-hand.json"))
    before = [file.stat().st_mtime_ns for file in done]
    assert done and not list((killed / "cells").rglob("prompt-tuning.json"))
    assert main([*chosen, *places(killed)]) == 0
    assert [file.stat().st_mtime_ns for file in done] == before
    rows = [json.loads((out / "methods.json").read_text())["rows"] for out in (whole, killed)]
    assert _without_clocks(rows[0]) == _without_clocks(rows[1])


@pytest.mark.integration
def test_two_processes_share_the_work(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    chosen = [*options(home, "llama"), "--methods", "prompt-tuning", "dept", "--seeds", "1"]
    chosen += ["--steps", "2", "--workers", "2"]
    assert main([*chosen, *places(home / "shared")]) == 0
    out = capfd.readouterr().out
    assert "2 process(es)" in out and "[6/6]" in out
    for name in contestants(["prompt-tuning", "dept"]):
        assert out.count(f"llama sentiment {name}: ") == 1  # each cell once


def test_intervals_draw_seeds_and_rows() -> None:
    right = as_right(["1" * 50 + "0" * 50, "1" * 70 + "0" * 30])
    found = score_interval(right)
    assert found.low < 0.55 and found.high > 0.65  # the seeds differ by 0.2
    same = gain_interval(right[:1], right[:1])
    assert same.low == same.high == 0
    gain = gain_interval(right[1:], right[:1])
    assert 0.1 < gain.low < 0.2 < gain.high < 0.3


def _without_clocks(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "cpu_s"} for row in rows]
