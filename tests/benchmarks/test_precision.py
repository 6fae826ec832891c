"""The precision benchmark runs from end to end on a tiny backbone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.precision import interval, main
from benchmarks.training.tables import precision_table
from support.data.reviews import reviews
from support.tiny import tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("precision")
    tiny_model().save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    lines = [f'"{r.fields["text"]} {i}",{r.target}' for i, r in enumerate(reviews(200))]
    (folder / "reviews.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    options = ["--backbone", str(folder / "model"), "--reviews", str(folder / "reviews.csv")]
    options += ["--rounds", "1", "--seeds", "2", "--steps", "3", "--forms", "int4,bf16 late"]
    assert main([*options, "--out", str(folder / "out.json")]) == 0
    found: list[dict[str, Any]] = json.loads((folder / "out.json").read_text())
    return found


def test_every_form_holds_its_numbers(results: list[dict[str, Any]]) -> None:
    plain, small, late = results
    assert [r["name"] for r in results] == ["fp32", "int4", "bf16 late"]
    assert late["loss"]["mean"] != plain["loss"]["mean"]
    assert small["weight_bytes"] < plain["weight_bytes"]
    assert plain["loss_minus_fp32"] == {"mean": 0, "half_width": 0}
    pairs = zip(small["runs"], plain["runs"], strict=True)
    expected = sum(run["loss"] - other["loss"] for run, other in pairs) / 2
    assert small["loss_minus_fp32"]["mean"] == pytest.approx(expected)
    for found in results:
        assert found["cpu_s"] > 0 and found["peak_bytes"] >= 0 and found["seeds"] == [0, 1]


def test_the_table_is_made_of_them(results: list[dict[str, Any]]) -> None:
    table = precision_table(results)
    assert f"| int4 | {results[1]['loss']['mean']:.4f} ± " in table
    assert "2 seed(s)" in table


def test_intervals_are_students() -> None:
    assert interval([1.0]) == {"mean": 1.0, "half_width": None}
    found = interval([1.0, 2.0, 3.0])
    assert found["mean"] == 2.0
    assert found["half_width"] == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
