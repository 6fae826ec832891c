"""`cuecard inspect`: what a prompt says of itself, and its nearest words."""

from __future__ import annotations

import shutil
from pathlib import Path

import cuecard as library
from support.command_line import Call


def test_facts(cuecard: Call, run: Path, backbone: Path) -> None:
    prompt = library.Prompt.load(run / "prompt")
    assert prompt.manifest.parameters is not None
    done = cuecard("inspect", run)
    assert (done.code, done.err) == (0, "")
    for word in (
        prompt.digest,
        "4 vectors of 32, 512 bytes",
        f"parameters   trained 128 of {prompt.manifest.parameters.total:,} (",
        '"init": "vocabulary"',
        r'"Review: {text}\nSentiment:"',
        "negative (says 'bad'), positive (says 'good')",
        backbone.name,
        prompt.manifest.backbone.fingerprint.embeddings[:12],
        prompt.manifest.data_hash,
        "(95% interval 0.",
        "nearest words",
    ):
        assert word in done.out


def test_json(cuecard: Call, run: Path) -> None:
    prompt = library.Prompt.load(run / "prompt")
    found = cuecard("inspect", run, "--words", 2, "--json").json
    assert found["digest"] == prompt.digest
    assert found["bytes"] == prompt.nbytes == 512
    assert found["parameters"]["trained"] == 4 * 32 < found["parameters"]["total"]
    assert found["metrics"] == prompt.manifest.metrics
    assert found["seed"] == 0 and found["data_hash"] == prompt.manifest.data_hash
    assert found["created_with"]["torch"]
    assert [len(one["words"]) for one in found["nearest"]] == [2, 2, 2, 2]
    assert all(one["norm"] > 0 and one["relative_norm"] > 0 for one in found["nearest"])


def test_without_words_no_backbone_is_needed(cuecard: Call, run: Path, tmp_path: Path) -> None:
    alone = shutil.copytree(run / "prompt", tmp_path / "alone")
    done = cuecard("inspect", alone, "--no-words", "--json")
    assert done.code == 0 and done.json["nearest"] is None
    refused = cuecard("inspect", alone)
    assert refused.code == 2 and "--backbone" in refused.err


def test_a_damaged_prompt(cuecard: Call, run: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(run / "prompt", tmp_path / "damaged")
    path = damaged / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    done = cuecard("inspect", damaged, "--no-words")
    assert done.code == 2 and "cut short" in done.err and done.out == ""
