from __future__ import annotations

from pathlib import Path

from support.command_line import Call
from support.tiny import tiny_model


def test_a_configuration_is_enough(cuecard: Call, tmp_path: Path) -> None:
    tiny_model("llama").config.save_pretrained(tmp_path)
    asked = ["plan", "--backbone", tmp_path, "--gpus", "2xL4", "--rows", "1000"]
    shown = cuecard(*asked)
    assert shown.code == 0, shown.err
    assert "data parallel" in shown.out and "35% of the peak" in shown.out
    found = cuecard(*asked, "--json").json
    assert [way["strategy"] for way in found["ways"]] == ["one", "data-parallel", "sharded"]
    assert found["shape"]["hidden"] == 32 and found["machine"]["gpu"]["name"] == "L4"
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_mistakes_are_named(cuecard: Call, tmp_path: Path) -> None:
    unknown = cuecard("plan", "--backbone", tmp_path, "--gpus", "8xH10", "--rows", "5")
    assert unknown.code == 2 and "did you mean H100?" in unknown.err
    missing = cuecard("plan", "--backbone", tmp_path, "--gpus", "H100", "--rows", "5")
    assert missing.code == 2 and "config.json" in missing.err
