"""`cuecard pet` as a user types it, on a tiny backbone."""

from __future__ import annotations

import json
from pathlib import Path

from cuecard.artifacts import Prompt
from support.command_line import Call


def test_patterns_are_distilled(cuecard: Call, backbone: Path, data: Path, tmp_path: Path) -> None:
    patterns = tmp_path / "patterns.txt"
    patterns.write_text("Review: {text}\\nSentiment:\n\n{text} It was\n")
    out = tmp_path / "run"
    words = [
        *("pet", data, "--text-field", "review", "--shots", "4", "--unlabelled", data),
        *("--word", "negative=bad", "--word", "positive=good", "--backbone", backbone),
        *("--steps", "4", "--batch-rows", "4", "--lr", "0.05", "--out", out),
        *("--generations", "2", "--growth", "2"),
    ]
    done = cuecard(*words, "--patterns", patterns)
    assert done.code == 0, done.err
    assert "'Review: {text}\\nSentiment:'" in done.out and "distilled" in done.out
    assert "mean validation loss, generation by generation: " in done.out
    assert Prompt.load(out / "prompt").spec.template in (
        "Review: {text}\nSentiment:",
        "{text} It was",
    )
    again = cuecard("pet", "--resume", out, "--json")
    assert again.code == 0, again.err
    result = json.loads(again.out.splitlines()[-1])
    assert result["digest"] == Prompt.load(out / "prompt").digest and len(result["patterns"]) == 2
    first, second = result["generations"]
    assert [one["rows"] for one in first] == [8, 8] and second == result["patterns"]
    assert all(8 <= one["rows"] <= 16 for one in second)
    assert cuecard("predict", out, "a fine film", "--backbone", backbone).code == 0
    for more, said in (
        ((), "there is nothing to learn from"),
        (("--patterns", patterns, "--template", "{text}:"), "the patterns are the templates"),
        (("--patterns", tmp_path / "none.txt"), "the patterns cannot be read"),
        (("--patterns", patterns, "--growth", "1"), "expected: more than 1"),
        (("--patterns", patterns, "--temperature", "1"), "temperature: 2.0 -> 1.0"),
    ):
        refused = cuecard(*words, *more)
        assert refused.code == 2 and said in refused.err, refused.err
