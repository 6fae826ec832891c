"""The vision benchmark on a tiny encoder and drawn pictures: every contestant, once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.vision import benchmark as vision
from benchmarks.vision.cells import CONTESTANTS
from benchmarks.vision.tables import NOT_YET, vision_figure, vision_table
from support.tiny_vision import LAYERS, save_pictures, save_vision

FEW = (
    *("--examples", "40", "--test-rows", "8", "--batch-rows", "16", "--seeds", "42", "44"),
    *("--side", "32"),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vision")
    save_vision(folder / "vit", "dinov2")
    save_pictures(folder / "drawn", 90)
    return folder


def run(home: Path, *more: str) -> int:
    where = ("--folder", str(home / "cells"), "--out", str(home / "vision.json"))
    data = ("--model", str(home / "vit"), "--sets", str(home / "drawn"))
    return vision.main([*data, *FEW, *where, *more])


def test_every_contestant_is_run_once(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What it really says takes seconds of matrix products, and is not this benchmark's.
    monkeypatch.setattr(vision, "machine", lambda: {"cpu": "a processor", "load": 0.1})
    assert run(home) == 0
    assert capsys.readouterr().out.count("CPU-s") == len(CONTESTANTS)
    found = json.loads((home / "vision.json").read_text())
    rows = {row["contestant"]: row for row in found["rows"]}
    assert list(rows) == list(CONTESTANTS)
    width, length = 32, 10
    head = 2 * (width + 1)
    assert rows["linear"]["parameters"] == head
    assert rows["shallow patches"]["parameters"] == length * width + head
    assert rows["deep vipamin"]["parameters"] == LAYERS * length * width + head
    assert rows["deep xavier"]["bytes"] == 4 * rows["deep xavier"]["parameters"]
    # Of every layer four matrices of width x width and two of width x 64.
    assert rows["full"]["parameters"] == LAYERS * (4 * width**2 + 2 * width * 64) + head
    for name, row in rows.items():
        low, high = row["ci95"]
        assert 0 <= low <= row["score"] <= high <= 1
        assert (name == "lora") == ("minus_lora" not in row)
    (encoder,) = (home / "cells").glob("*/encoder-32")
    settings = json.loads((encoder / "preprocessor_config.json").read_text())
    assert settings["size"] == {"height": 32, "width": 32}
    before = (home / "vision.json").read_text()
    assert run(home) == 0
    assert capsys.readouterr().out.count("CPU-s") == 0, "finished cells are kept"
    changed = {"written"}
    again: dict[str, Any] = json.loads((home / "vision.json").read_text())
    assert {k: v for k, v in again.items() if k not in changed} == {
        k: v for k, v in json.loads(before).items() if k not in changed
    }

    table = vision_table(found)
    lines = table.splitlines()
    assert lines[0].startswith("| contestant | mean | ") and "drawn" in lines[0]
    # Two tables, of which the second has all but what has nothing to be compared with.
    assert len(lines) == 2 + len(CONTESTANTS) + 1 + 2 + len(CONTESTANTS) + 2
    means = {row["contestant"]: row for row in found["means"]}
    assert means["auto"]["score"] == rows["auto"]["score"], "of one set"
    assert means["auto"]["minus_lora"] == pytest.approx(rows["auto"]["minus_lora"])
    assert f"auto {rows['auto']['score']:.3f}, {rows['auto']['bytes']:,} B" in vision_figure(found)
    assert "seeds 42, 44" in table and vision_table({}) == NOT_YET
