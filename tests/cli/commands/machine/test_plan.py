from __future__ import annotations

from pathlib import Path

from support.command_line import Call
from support.tiny import tiny_model


def test_a_configuration_is_enough(cuecard: Call, tmp_path: Path) -> None:
    tiny_model("llama").config.save_pretrained(tmp_path)
    asked = ["plan", "--backbone", tmp_path, "--gpus", "2xL4", "--rows", "1000"]
    shown = cuecard(*asked)
    assert shown.code == 0, shown.err
    one = cuecard("plan", "--backbone", tmp_path, "--gpus", "L4", "--rows", "1")
    assert "1 step, 828 tokens" in one.out and "inf" not in one.out and " s\n" in one.out
    assert "data parallel" in shown.out and "35% of the peak" in shown.out
    found = cuecard(*asked, "--json").json
    assert [way["strategy"] for way in found["ways"]] == ["one", "data-parallel", "sharded"]
    assert found["shape"]["hidden"] == 32 and found["machine"]["gpu"]["name"] == "L4"
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_mistakes_are_named(cuecard: Call, tmp_path: Path) -> None:
    unknown = cuecard("plan", "--backbone", tmp_path, "--gpus", "8xH10", "--rows", "5")
    assert unknown.code == 2 and "did you mean H100?" in unknown.err
    for count in ("0xH100", "-1xH100", "99999999999xH100"):
        refused = cuecard("plan", "--backbone", tmp_path, "--gpus", count, "--rows", "5")
        assert refused.code == 2 and "not a number of GPUs" in refused.err
    for flags in (("--mfu", "1e-320"), ("--mfu", "nan"), ("--rows", str(10**24))):
        given = ["plan", "--backbone", tmp_path, "--gpus", "H100", "--rows", "5", *flags]
        refused = cuecard(*given)
        assert refused.code == 2 and flags[0] in refused.err, refused.err
    missing = cuecard("plan", "--backbone", tmp_path, "--gpus", "H100", "--rows", "5")
    assert missing.code == 2 and "config.json" in missing.err
