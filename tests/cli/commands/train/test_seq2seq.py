"""Encoder-decoders on the command line: trained on, predicted with, imported for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cuecard.artifacts import Prompt
from support.command_line import Call
from support.tiny import tiny_backbone, tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "t5"
    tiny_model("t5-gated").save_pretrained(folder)
    tiny_tokenizer("$A </s>").save_pretrained(folder)
    return folder


def train_words(data: Path, model: Path, out: Path) -> list[object]:
    words: list[object] = ["train", data, "--text-field", "review", "--backbone", model]
    words += ["--template", "Review: {text}", "--word", "negative=bad", "--word", "positive=good"]
    return [*words, "--steps", "4", "--length", "3", "--no-compare", "--out", out]


def test_training_and_answering(cuecard: Call, data: Path, t5: Path, tmp_path: Path) -> None:
    words = train_words(data, t5, tmp_path / "run")
    done = cuecard(*words, "--set", "method.decoder_length=2", "--json")
    assert done.code == 0, done.err
    prompt = Prompt.load(tmp_path / "run" / "prompt", tiny_backbone("t5-gated"))
    assert prompt.injection().length == 5
    done = cuecard("predict", tmp_path / "run", "warm and good", "--json")
    assert done.json["predictions"][0]["answer"] in ("negative", "positive")
    done = cuecard("eval", tmp_path / "run", data, "--text-field", "review", "--json")
    assert done.json["rows"] == 80
    shown = cuecard("inspect", tmp_path / "run").out
    assert "3 vectors of 32" in shown and "decoder_length" in shown
    assert cuecard("export", tmp_path / "run", tmp_path / "x", "--form", "peft").code == 2


def test_a_dry_run(cuecard: Call, data: Path, t5: Path, tmp_path: Path) -> None:
    done = cuecard(*train_words(data, t5, tmp_path / "run"), "--dry-run", "--json")
    assert done.code == 0 and done.json["trained_parameters"] == 3 * 32


def test_a_decoder_prompt_on_a_causal_model(
    cuecard: Call, data: Path, backbone: Path, tmp_path: Path
) -> None:
    words = train_words(data, backbone, tmp_path / "run")
    done = cuecard(*words, "--set", "method.decoder_length=2")
    assert done.code == 2 and "input-tokens in the decoder" in done.err


def test_importing_an_array(cuecard: Call, t5: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "sst2.npy", np.full((100, 32), 0.1, np.float32))
    words = ["import", tmp_path / "sst2.npy", tmp_path / "prompt", "--backbone", t5]
    done = cuecard(*words, "--template", "sst2 sentence: {text}", "--labels", "negative,positive")
    assert done.code == 0, done.err
    task = ["--template", "{text}", "--labels", "a,b", "--task", 1]
    of_task = cuecard(*words[:2], tmp_path / "other", *words[3:], *task)
    assert of_task.code == 2 and "a task of an array" in of_task.err
    assert len(Prompt.load(tmp_path / "prompt", tiny_backbone("t5-gated")).vectors) == 100
