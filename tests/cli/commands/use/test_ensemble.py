from __future__ import annotations

from pathlib import Path

from cuecard.artifacts import Prompt
from support.command_line import Call


def test_several_prompts_answer_as_one(cuecard: Call, run: Path, data: Path) -> None:
    alone = cuecard("eval", run, data, "--json").json
    for rule in ("mean", "vote"):
        found = cuecard("ensemble", data, run, run, "--rule", rule, "--json").json
        assert found["metrics"]["accuracy"] == alone["metrics"]["accuracy"]
        assert found["members"] == [alone["digest"]] * 2
        assert found["seen_rows"] == [alone["seen_rows"]] * 2
        assert found["unseen"]["rows"] == alone["unseen"]["rows"] > 0
    assert "accuracy" in cuecard("ensemble", data, run, run).out


def test_distilled_into_one(cuecard: Call, run: Path, data: Path, tmp_path: Path) -> None:
    words = ("ensemble", data, run, run, "--distil", tmp_path / "one", "--steps", 2)
    done = cuecard(*words)
    assert done.code == 0 and "distilled into" in done.out, done.err
    found = cuecard(*words, "--json").out.splitlines()[-1]
    assert Prompt.load(tmp_path / "one" / "prompt").digest in found
