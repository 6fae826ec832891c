"""What races save, on a tiny backbone: the answers of all, and races that are run on these."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.search.races import main
from benchmarks.search.tables import races_table
from support.data.reviews import reviews
from support.tiny import tiny_model, tiny_tokenizer


def test_races_on_what_was_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_model("llama")
    model.config.max_position_embeddings = 4096  # solved rows of bytes are long
    model.save_pretrained(tmp_path / "llama")
    tiny_tokenizer("").save_pretrained(tmp_path / "llama")
    rows = [f'"{r.fields["text"]} {i}",{r.target}' for i, r in enumerate(reviews(300))]
    (tmp_path / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    options = [
        *("--backbone", str(tmp_path / "llama"), "--data", str(tmp_path / "reviews.csv")),
        *("--sets", "sentiment", "--seeds", "13", "21", "--candidates", "4", "--rows", "90"),
        *("--orders", "10", "--cells", str(tmp_path / "cells"), "--out", str(tmp_path / "r.json")),
    ]
    assert main(options) == 0
    found = json.loads((tmp_path / "r.json").read_text())
    assert [cell["seed"] for cell in found["cells"]] == [13, 21]
    for way in ("race", "equal"):
        # A block of the three at least, all of them at most.
        assert 1 / 3 <= found[way]["share"] <= 1 and 0 <= found[way]["same"] <= 1
    # As many calls in equal shares, less what is left over.
    assert found["race"]["share"] - 4 / 90 <= found["equal"]["share"] <= found["race"]["share"]
    (race, *_) = [line for line in races_table(found).splitlines() if line.startswith("| race")]
    assert f"{found['race']['same']:.2f}" in race
    # Finished cells are kept.
    cells = {file: file.stat().st_mtime_ns for file in (tmp_path / "cells").glob("*.json")}
    capsys.readouterr()
    assert main(options) == 0
    assert {file: file.stat().st_mtime_ns for file in cells} == cells
    assert "[" not in capsys.readouterr().out
