"""Masked models on the command line: trained with a cloze, asked, refused without one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.command_line import Call
from support.data.pairs import pairs
from support.tiny import tiny_backbone, tiny_model


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "bert"
    tiny_model("bert").save_pretrained(folder)
    tiny_backbone("bert").tokenizer.save_pretrained(folder)
    return folder


def words(data: Path, model: Path, out: Path, template: str) -> list[object]:
    found: list[object] = ["train", data, "--text-field", "review", "--backbone", model]
    found += ["--template", template, "--word", "negative=bad", "--word", "positive=good"]
    return [*found, "--steps", "4", "--length", "3", "--out", out]


def test_training_comparing_and_answering(
    cuecard: Call, data: Path, bert: Path, tmp_path: Path
) -> None:
    done = cuecard(*words(data, bert, tmp_path / "run", "{text} It was {mask}."), "--json")
    assert done.code == 0, done.err
    done = cuecard("predict", tmp_path / "run", "warm and good", "--json")
    assert done.json["predictions"][0]["answer"] in ("negative", "positive")
    done = cuecard("eval", tmp_path / "run", data, "--text-field", "review", "--json")
    assert done.json["rows"] == 80
    assert "{mask}" in cuecard("inspect", tmp_path / "run").out


def test_a_template_without_a_mask(cuecard: Call, data: Path, bert: Path, tmp_path: Path) -> None:
    for extra in ((), ("--dry-run",)):
        done = cuecard(*words(data, bert, tmp_path / "run", "{text} It was"), *extra)
        assert done.code == 2 and "{text} It was {mask}." in done.err


def test_a_mask_for_a_causal_model(
    cuecard: Call, data: Path, backbone: Path, tmp_path: Path
) -> None:
    done = cuecard(*words(data, backbone, tmp_path / "run", "{text} It was {mask}."))
    assert done.code == 2 and "no masks to read" in done.err


def test_an_encoder_without_a_head(cuecard: Call, data: Path, bert: Path, tmp_path: Path) -> None:
    tiny_model("bert").base_model.save_pretrained(tmp_path / "encoder")
    tiny_backbone("bert").tokenizer.save_pretrained(tmp_path / "encoder")
    done = cuecard(*words(data, tmp_path / "encoder", tmp_path / "run", "{text} {mask}"))
    assert done.code == 2 and "no masked-LM head" in done.err
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_an_embedding(cuecard: Call, bert: Path, tmp_path: Path) -> None:
    data = tmp_path / "pairs.csv"
    rows = [f"{r.fields['text']},{r.target}" for r in pairs(40)]
    data.write_text("\n".join(["text,positive", *rows]) + "\n")
    asked: list[object] = ["train", data, "--kind", "embedding", "--label-field", "positive"]
    asked += ["--backbone", bert, "--steps", "4", "--length", "3", "--out", tmp_path / "run"]
    done = cuecard(*asked, "--json")
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert {"no_prompt", "prompt", "gain_ci95"} <= set(report) and report["metric"] == "recall@1"
    done = cuecard("eval", tmp_path / "run", data, "--json")
    assert done.json["rows"] == 40 and done.json["metric"] == "recall@1"
    assert "MRR@10" in cuecard("eval", tmp_path / "run", data).out
    lines = cuecard("predict", tmp_path / "run", "good fox", "a dog").out.splitlines()
    vectors = [json.loads(line)["embedding"] for line in lines]
    assert len(vectors) == 2 and len(vectors[0]) == 32
    done = cuecard("predict", tmp_path / "run", "good fox", "--json")
    assert done.json["embeddings"][0]["embedding"] == pytest.approx(vectors[0], abs=1e-6)
    out = tmp_path / "vectors.jsonl"
    assert cuecard("predict", tmp_path / "run", "a", "--predictions-out", out).code == 0
    assert len(out.read_text().splitlines()) == 1
    shards = [
        cuecard("predict", tmp_path / "run", "good fox", "a dog", "--shard", f"{index}/3").out
        for index in range(3)
    ]
    assert [text.count("\n") for text in shards] == [0, 1, 1]
    joined = [json.loads(line)["embedding"] for line in "".join(shards).splitlines()]
    assert joined == [pytest.approx(vector, abs=1e-6) for vector in vectors]
    assert "embedding" in cuecard("inspect", tmp_path / "run").out
    assert cuecard(*asked[:-1], tmp_path / "other", "--dry-run", "--json").json["loss"] == "pairs"
