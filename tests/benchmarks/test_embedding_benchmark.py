"""The embedding benchmark runs from end to end on a tiny encoder."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from benchmarks.embedding import main
from support.data.reviews import reviews
from support.tiny import tiny_backbone, tiny_model


def test_it_tells_what_a_prompt_buys(tmp_path: Path) -> None:
    tiny_model("bert").base_model.save_pretrained(tmp_path / "model")
    tiny_backbone("bert").tokenizer.save_pretrained(tmp_path / "model")
    with (tmp_path / "reviews.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([(f"{r.fields['text']} a") * 30, r.target] for r in reviews(60))
    words = ["--backbone", tmp_path / "model", "--reviews", tmp_path / "reviews.csv"]
    words += ["--rows", 20, 10, 10, "--steps", 2, "--batch", 4, "--length", 3]
    assert main([*map(str, words), "--out", str(tmp_path / "out.json")]) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["rows"] == {"train": 20, "validation": 10, "test": 10}
    (run,) = found["runs"]
    for name in ("recall@1", "recall@10", "mrr@10"):
        gain = run["metrics"][name] - found["no_prompt"][name]
        assert abs(run["gains"][name]["value"] - gain) < 1e-9
