"""The benchmark of many named prompts, on a tiny backbone and a few of them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from benchmarks.serving.tables import thousand_table
from benchmarks.serving.thousand import KINDS, kind_of, main, questions, to_one
from benchmarks.tables import TABLES
from support.command_line import save_tiny


def test_it_holds_its_numbers(tmp_path: Path) -> None:
    save_tiny(tmp_path / "model")
    out = tmp_path / "serving_1000.json"
    sizes = ["--prompts", "12", "--requests", "60", "--rounds", "1", "--dtype", "fp32"]
    assert main(["--backbone", str(tmp_path / "model"), *sizes, "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert (found["many"]["prompts"], found["one"]["prompts"]) == (12, 10)
    for each in found["traffic"].values():
        assert each["requests"] == 60 and each["crossed"] == each["failed"] == 0
        assert each["per_cpu_s"] > 0 and each["p99_s"] >= each["p50_s"] > 0
    assert found["over_one"]["rate_per_cpu_s"] > 0
    assert "12 prompts" in thousand_table(found)
    doc = TABLES["serving_1000"]
    assert "12 prompts" in doc.updated(doc.page.read_text(), found)
    assert thousand_table({}) == "Not measured yet."


def test_names_follow_zipfs_law_and_every_kind_is_there() -> None:
    names = [f"task-{number:04}" for number in range(1000)]
    asked = questions(names, 20_000, 1)
    counts = Counter(each.name for each in asked).most_common()
    assert 1.7 < counts[0][1] / counts[1][1] < 2.7 and len(counts) > 800
    assert {each.kind for each in asked} == set(KINDS)
    assert all(each.kind == kind_of(int(each.name[-4:])) for each in asked)
    alike = to_one(asked, names)
    assert [each.kind for each in alike] == [each.kind for each in asked]
    assert len({each.name for each in alike}) == 3
