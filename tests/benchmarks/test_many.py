"""The benchmark runs on a tiny backbone; its numbers are nobody's concern here."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.many import COUNTS, main
from support.data.reviews import reviews
from support.tiny import tiny_model, tiny_tokenizer


def test_it_runs(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    lines = [f'"{r.fields["text"]}",{r.target}' for r in reviews(200)]
    (tmp_path / "reviews.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    words = ["--backbone", tmp_path / "model", "--reviews", tmp_path / "reviews.csv"]
    words += ["--rounds", "1", "--out", tmp_path / "many.json"]
    assert main([str(word) for word in words]) == 0
    found = json.loads((tmp_path / "many.json").read_text())["cases"]
    assert [case["prompts"] for case in found] == list(COUNTS)
    assert all(case["together_cpu_s"] > 0 and case["alone_wall_s"] > 0 for case in found)
