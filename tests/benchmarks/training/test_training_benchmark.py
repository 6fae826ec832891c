"""The benchmark runs from end to end on a tiny backbone; its numbers are nobody's concern here."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import torch

from benchmarks.machine import alternate
from benchmarks.memory import peak_bytes
from benchmarks.tables import END, TABLES
from benchmarks.training.accuracy import summary
from benchmarks.training.benchmark import main
from benchmarks.training.tables import training_table
from support.data.reviews import reviews
from support.tiny import tiny_model, tiny_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

NUMBERS = (
    "ours_cpu_s",
    "peft_fp32_cpu_s",
    "peft_bf16_cpu_s",
    "ratio_fp32",
    "ratio_bf16",
    "gemm_share",
    "peft_peak_bytes",
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("benchmark")
    tiny_model().save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    lines = [
        "text,label",
        *(f'"{r.fields["text"]} {i}",{r.target}' for i, r in enumerate(reviews(200))),
    ]
    (folder / "reviews.csv").write_text("\n".join(lines) + "\n")
    out = folder / "results" / "training.json"
    options = ["--backbone", str(folder / "model"), "--reviews", str(folder / "reviews.csv")]
    options += ["--rounds", "1", "--seeds", "2", "--peft-steps", "20", "--only", "B16 T32 P20"]
    assert main([*options, "--out", str(out)]) == 0
    found: list[dict[str, Any]] = json.loads(out.read_text())
    return found


def test_a_case_holds_its_numbers(results: list[dict[str, Any]]) -> None:
    case, accuracy = results
    assert case["name"] == "B16 T32 P20"
    assert all(case[name] > 0 for name in NUMBERS)
    assert case["ratio_fp32"] == pytest.approx(case["peft_fp32_cpu_s"] / case["ours_cpu_s"])
    assert case["ours_tokens"] == 20 + 16 * 32  # the prompt once, no padding
    assert {"cpu", "bf16_gflop_per_cpu_s"} <= set(case["machine"])
    assert set(case["versions"]) == {"cuecard", "torch", "transformers", "peft"}
    assert sum(case["ours_time_shares"].values()) == pytest.approx(1)
    assert all(share > 0 for share in case["ours_time_shares"].values())
    assert [run["seed"] for run in accuracy["runs"]] == [0, 1]
    assert all(0 <= run["accuracy"] <= 1 for run in accuracy["runs"])
    assert all(run["peft_bf16_cpu_s"] > 0 for run in accuracy["runs"])
    assert accuracy["ratio_fp32"] is None  # the reviews' steps were left out


def test_the_table_is_made_of_them(results: list[dict[str, Any]]) -> None:
    table = training_table(results)
    assert f"| B16 T32 P20 | {results[0]['ours_cpu_s']:.2f} (" in table
    doc = TABLES["training"]
    marks = f"a\n{doc.begin}\nold\n{END}\nb\n{doc.figure_begin}\nold\n{END}\nc"
    page = doc.updated(marks, results)
    assert "old" not in page and page.startswith("a\n") and page.endswith("\nc")
    (bar,) = [line for line in page.splitlines() if line.endswith("products with the weights")][1:]
    assert len(bar.split("  ")[0]) == 60


def test_means_of_seeds_are_compared() -> None:
    run = {"threads": 1, "peft_bf16_cpu_s": 90.0, "ours_cpu_s": 10.0}
    runs = [run, run | {"peft_bf16_cpu_s": 110.0, "ours_cpu_s": 30.0}]
    found = summary(runs, 150, 2.0)
    assert (found["ratio_bf16"], found["ratio_fp32"]) == (0.2, 0.1)
    never = summary([*runs, run | {"ours_cpu_s": None}], 150, 2.0)
    assert never["ratio_bf16"] is None and never["ratio_fp32"] is None


def test_contestants_take_turns() -> None:
    turns: list[str] = []
    found = alternate({name: lambda name=name: turns.append(name) for name in "ab"}, rounds=3)
    assert turns == list("ab" * 4)
    assert set(found) == {"a", "b"} and set(found["a"]) == {"cpu_s", "wall_s"}


def test_peak_memory_is_above_what_was_there() -> None:
    def step() -> None:
        held = torch.ones(2**24)
        time.sleep(0.1)
        assert held[0] == 1

    assert peak_bytes(step) >= 48 * 2**20
