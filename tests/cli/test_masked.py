"""Masked models on the command line: trained with a cloze, asked, refused without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import Call
from tiny import tiny_backbone, tiny_model


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
    assert done.code == 2 and "does not take masks" in done.err


def test_an_encoder_without_a_head(cuecard: Call, data: Path, bert: Path, tmp_path: Path) -> None:
    tiny_model("bert").base_model.save_pretrained(tmp_path / "encoder")
    tiny_backbone("bert").tokenizer.save_pretrained(tmp_path / "encoder")
    done = cuecard(*words(data, tmp_path / "encoder", tmp_path / "run", "{text} {mask}"))
    assert done.code == 2 and "no masked-LM head" in done.err
    assert not (tmp_path / "run").exists()
