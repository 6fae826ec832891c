"""`cuecard multitask` on a tiny backbone, and a new task that starts from what it leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from cuecard.artifacts import Prompt, SharedPrompt
from support.command_line import Call

WORDS = {"negative": "bad", "positive": "good"}


@pytest.fixture
def sources(tmp_path: Path, data: Path, backbone: Path) -> Path:
    def source(template: str) -> dict[str, Any]:
        return {
            "data": {"path": str(data), "text_field": "review"},
            "task": {"template": template, "words": WORDS},
        }

    recipe = {
        "backbone": str(backbone),
        "tasks": {"one": source("Review: {text}\nSentiment:"), "two": source("{text}\nIt is")},
        "method": {"length": 4},
        "training": {"steps": 4, "batch_rows": 4, "eval_every": 2},
        "out": str(tmp_path / "run"),
    }
    path = tmp_path / "sources.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def test_from_sources_to_a_new_task(
    cuecard: Call, sources: Path, data: Path, backbone: Path, tmp_path: Path
) -> None:
    done = cuecard("multitask", sources)
    assert done.code == 0, done.err
    assert "Teacher of one, step 0" in done.out and "--init-prompt" in done.out
    folder = tmp_path / "run"
    shared = SharedPrompt.load(folder / "shared")
    answer = cuecard("predict", folder / "tasks" / "two", "warm and good", "--json")
    assert answer.json["predictions"][0]["answer"] in WORDS
    words = ["train", data, "--text-field", "review", "--backbone", backbone, "--method", "mpt"]
    words += ["--template", "It is: {text}\nSo:", "--word", "negative=bad"]
    words += ["--word", "positive=good", "--init-prompt", folder, "--no-compare"]
    words += ["--steps", "1", "--lr", "1e-9", "--set", "method.factors_lr=1e-9"]
    done = cuecard(*words, "--out", tmp_path / "target", "--json")
    assert done.code == 0, done.err
    prompt = Prompt.load(tmp_path / "target" / "prompt")
    assert prompt.manifest.method == "mpt"
    torch.testing.assert_close(prompt.vectors, shared.start(), atol=1e-6, rtol=1e-6)
    done = cuecard("nearest", tmp_path / "target", folder, "--json")
    near = {Path(one["folder"]).parent.name for one in done.json["nearest"]}
    assert {"one", "two"} <= near


def test_going_on_and_starting_again(cuecard: Call, sources: Path, tmp_path: Path) -> None:
    first = json.loads(cuecard("multitask", sources, "--json").out.splitlines()[-1])
    assert set(first["tasks"]) == {"one", "two"}
    again = cuecard("multitask", "--resume", tmp_path / "run", "--json")
    assert json.loads(again.out.splitlines()[-1])["digest"] == first["digest"]
    assert '"event": "teachers"' not in again.out  # they are there
    sources.write_text(sources.read_text().replace("steps: 4", "steps: 2"))
    done = cuecard("multitask", sources)
    assert done.code == 2 and "other settings" in done.err
    done = cuecard("multitask", sources, "--overwrite", "--json")
    assert json.loads(done.out.splitlines()[-1])["steps"] == 2
    other = cuecard("multitask", sources, "--out", tmp_path / "other", "--json")
    last = json.loads(other.out.splitlines()[-1])
    assert last["folder"] == str(tmp_path / "other")


def test_mistakes(cuecard: Call, sources: Path, run: Path, tmp_path: Path) -> None:
    assert cuecard("multitask").code == 2
    assert cuecard("multitask", sources, "--resume", run).code == 2
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    done = cuecard("multitask", "--resume", run, "--overwrite")
    assert done.code == 2 and "--overwrite" in done.err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    done = cuecard("multitask", "--resume", tmp_path)
    assert done.code == 2 and "no multitask.yaml" in done.err
    text = sources.read_text()
    sources.write_text(text.replace("distil", "").replace("tasks:", "task:"))
    done = cuecard("multitask", sources)
    assert done.code == 2 and "tasks" in done.err
    sources.write_text(yaml.safe_dump({**yaml.safe_load(text), "tasks": {}}))
    assert "two or more" in cuecard("multitask", sources).err
    sources.write_text(yaml.safe_dump({**yaml.safe_load(text), "method": {"lenght": 3}}))
    done = cuecard("multitask", sources)
    assert done.code == 2 and "did you mean length" in done.err
    sources.write_text(yaml.safe_dump({**yaml.safe_load(text), "out": str(run)}))
    done = cuecard("multitask", sources)
    assert done.code == 2 and "holds a run" in done.err
