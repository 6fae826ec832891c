"""`cuecard lm-bff` as a user types it, on a tiny backbone."""

from __future__ import annotations

import json
from pathlib import Path

from cuecard.artifacts import Prompt
from support.command_line import Call


def test_demonstrations_are_averaged(
    cuecard: Call, backbone: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = [
        *("lm-bff", data, "--text-field", "review", "--shots", "4", "--backbone", backbone),
        *("--steps", "3", "--batch-rows", "4", "--lr", "0.05", "--length", "3", "--out", out),
    ]
    done = cuecard(*words, "--sets", "2", "--any")
    assert done.code == 0, done.err
    assert "all 2 together: " in done.out and f"{out}/sets/*" in done.out
    again = cuecard("lm-bff", "--resume", out, "--json")
    assert again.code == 0, again.err
    result = json.loads(again.out.splitlines()[-1])
    assert result["digest"] == Prompt.load(out / "prompt").digest
    digests = [Prompt.load(out / "sets" / name / "prompt").digest for name in ("001", "002")]
    assert [one["digest"] for one in result["sets"]] == digests
    assert cuecard("predict", out, "a fine film", "--backbone", backbone).code == 0
    for more, said in (
        (("--sets", "0"), "expected: 1 or more"),
        (("--method", "p-tuning"), "after a prompt of vectors"),
        (("--sets", "3"), "sets: 2 -> 3"),
    ):
        refused = cuecard(*words, *more)
        assert refused.code == 2 and said in refused.err, refused.err
