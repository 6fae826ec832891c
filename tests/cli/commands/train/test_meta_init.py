"""`cuecard meta-init` and `--init meta` as a user types them, on a tiny backbone."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from cuecard.artifacts import Prompt
from support.command_line import Call


def test_a_start_is_learnt_and_used(
    cuecard: Call, backbone: Path, data: Path, tmp_path: Path
) -> None:
    words = {"words": {"negative": "bad", "positive": "good"}}
    task = {"data": {"path": str(data), "text_field": "review"}, "task": words}
    short = {**task, "data": {**task["data"], "limit": 20}}
    meta = {"rounds": 2, "length": 3, "inner_steps": 2, "batch_rows": 4}
    recipe = {"tasks": {"all": task, "some": short}, "backbone": str(backbone), "meta": meta}
    file = tmp_path / "tasks.yaml"
    file.write_text(yaml.safe_dump(recipe))
    out = tmp_path / "start"
    done = cuecard("meta-init", file, "--out", out)
    assert done.code == 0, done.err
    assert "2 tasks, 2 rounds, 0 done" in done.out and "round 2  loss" in done.out
    again = cuecard("meta-init", "--resume", out, "--json")
    result = json.loads(again.out)
    assert again.code == 0 and result["rounds"] == 2 and result["tasks"] == ["all", "some"]

    start = out / "init.safetensors"
    train = [
        *("train", data, "--text-field", "review", "--backbone", backbone, "--steps", "2"),
        *("--word", "negative=bad", "--word", "positive=good", "--no-compare", "--init", "meta"),
    ]
    used = cuecard(*train, "--init-prompt", start, "--out", tmp_path / "run")
    assert used.code == 0, used.err
    prompt = Prompt.load(tmp_path / "run" / "prompt")
    assert prompt.vectors.shape[0] == 3 and prompt.manifest.method_config["init"] == "meta"
    for more, said in (
        ((), "no meta-learned start is shipped for this backbone"),
        (("--init-prompt", tmp_path / "run"), "not a plain file"),
        (("--init-prompt", tmp_path / "none"), "there is no meta-learned start"),
    ):
        refused = cuecard(*train, *more, "--out", tmp_path / "other")
        assert refused.code == 2 and said in refused.err, refused.err
