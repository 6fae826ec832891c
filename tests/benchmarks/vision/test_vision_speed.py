"""Steps against a plain loop, on a tiny encoder: both train the same numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.vision import speed as vision_speed
from benchmarks.vision.speed import POINTS, Case
from benchmarks.vision.tables import SPEED_NOT_YET, speed_table
from support.tiny_vision import save_vision


def test_both_train_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_vision(tmp_path / "vit", "dinov2")
    # What the machine really does takes seconds of matrix products, and is not this benchmark's.
    rates = {"fp32_gflop_per_cpu_s": 1, "bf16_gflop_per_cpu_s": 1}
    monkeypatch.setattr(vision_speed, "machine", lambda: {"cpu": "one", "load": 0.1} | rates)
    monkeypatch.setattr(vision_speed, "CASES", (Case(24, 4, 3),))
    where = ("--folder", str(tmp_path / "runs"), "--out", str(tmp_path / "found.json"))
    given = ("--model", str(tmp_path / "vit"), "--rounds", "2", "--grid-rows", "2")
    assert vision_speed.main([*given, *where]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    (case,) = found["cases"]
    assert case["apart_of_moved"] < 1e-4
    assert case["ratio_ours_bf16"] > 0 and found["grid"]["points"] == POINTS
    assert "24 px, 4 images, 3 vectors" in speed_table(found)
    assert speed_table({}) == SPEED_NOT_YET
