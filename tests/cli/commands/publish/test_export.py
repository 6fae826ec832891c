"""`cuecard export` and `cuecard import`: out to other forms, and in from PEFT's."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import cuecard as library
from support.command_line import Call


def test_forms(cuecard: Call, run: Path, tmp_path: Path) -> None:
    prompt = library.Prompt.load(run / "prompt")
    wanted = prompt.vectors.numpy()
    for form, name in (("npy", "p.npy"), ("safetensors", "p.safetensors"), ("peft", "p")):
        done = cuecard("export", run, tmp_path / name, "--form", form, "--json")
        assert done.code == 0
        assert done.json == {
            "path": str(tmp_path / name),
            "form": form,
            "digest": prompt.digest,
            "bytes": 512,
        }
    assert np.array_equal(np.load(tmp_path / "p.npy"), wanted)
    for path in (tmp_path / "p.safetensors", tmp_path / "p" / "adapter_model.safetensors"):
        assert np.array_equal(load_file(path)["prompt_embeddings"], wanted)


def test_a_taken_place(cuecard: Call, run: Path, tmp_path: Path) -> None:
    place = tmp_path / "p.npy"
    place.write_text("mine")
    done = cuecard("export", run, place, "--form", "npy")
    assert done.code == 2 and "already exists" in done.err and place.read_text() == "mine"
    again = cuecard("export", run, place, "--form", "npy", "--overwrite")
    assert again.code == 0 and again.out == f"npy: {place}\n"
    assert np.load(place).shape == (4, 32)


def test_there_and_back(cuecard: Call, run: Path, backbone: Path, tmp_path: Path) -> None:
    cuecard("export", run, tmp_path / "adapter")
    words = ("--backbone", backbone, "--template", r"Review: {text}\nSentiment:")
    labels = ("--labels", "negative, positive", "--word", "negative=bad", "--word", "positive=good")
    done = cuecard("import", tmp_path / "adapter", tmp_path / "back", *words, *labels)
    assert done.code == 0 and "4 positions, 512 bytes" in done.out
    before, after = (library.Prompt.load(p) for p in (run / "prompt", tmp_path / "back"))
    assert torch.equal(before.vectors, after.vectors)
    assert after.spec == before.spec
    # PEFT's form holds the vectors alone, so what calibration takes off is not there any more.
    assert before.manifest.prior is not None and after.manifest.prior is None
    model = library.load_backbone(backbone)
    records = [library.Record({"text": "good"}, None)]
    scores = [
        library.predict(model, prompt.spec, records, prompt.injection())[0].scores
        for prompt in (before, after)
    ]
    assert scores[0] == scores[1]
    told = cuecard("predict", tmp_path / "back", "good", "--backbone", backbone, "--json").json
    assert told["predictions"][0]["scores"] == pytest.approx(scores[1])


def test_imports_that_cannot_be(cuecard: Call, run: Path, backbone: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    cuecard("export", run, adapter)
    words = ("--backbone", backbone, "--template", "{text}:", "--labels")
    one = cuecard("import", adapter, tmp_path / "new", *words, "positive")
    assert one.code == 2 and "too few labels" in one.err
    bad = cuecard("import", adapter, tmp_path / "new", *words, "a,b", "--word", "c=d")
    assert bad.code == 2 and "a word for a label that does not exist" in bad.err
    shutil.copy(adapter / "adapter_config.json", tmp_path)
    empty = cuecard("import", tmp_path, tmp_path / "new", *words, "a,b")
    assert empty.code == 2 and "adapter_model.safetensors" in empty.err
    assert not (tmp_path / "new").exists()
    assert cuecard("import", adapter, tmp_path / "new").code == 2  # options that must be given


def test_words_there_and_back(cuecard: Call, backbone: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("Judge it.\n\nReview: {text}\nSentiment:")
    how = ("--backbone", backbone, "--labels", "negative,positive", "--word", "negative=bad")
    done = cuecard("import", tmp_path / "p.txt", tmp_path / "one", *how)
    assert done.code == 0 and "0 positions" in done.out, done.err
    rows = tmp_path / "rows.jsonl"
    config = ("--form", "promptfoo", "--tests", data)
    # The column that the data calls review is not the template's.
    done = cuecard("export", tmp_path / "one", tmp_path / "p.yaml", *config)
    assert done.code == 2 and "review" in done.err
    rows.write_text('{"text": "fine", "label": "positive"}\n')
    done = cuecard("export", tmp_path / "one", tmp_path / "p.yaml", *config[:3], rows)
    assert done.code == 0 and done.out == f"promptfoo: {tmp_path / 'p.yaml'}\n", done.err
    more = ("--tests-out", tmp_path / "back.jsonl")
    done = cuecard("import", tmp_path / "p.yaml", tmp_path / "two", *how, *more)
    assert done.code == 0 and (tmp_path / "back.jsonl").read_text() == rows.read_text()
    cuecard("export", tmp_path / "one", tmp_path / "bare.yaml", *config[:2])
    done = cuecard("import", tmp_path / "bare.yaml", tmp_path / "four", *how, *more, "--overwrite")
    assert done.code == 2 and "no tests of its own" in done.err
    assert not (tmp_path / "four").exists()
    one, two = (library.Prompt.load(tmp_path / name) for name in ("one", "two"))
    assert one.spec == two.spec
    done = cuecard("export", tmp_path / "one", tmp_path / "p.json", "--form", "dspy")
    assert done.code == 0 and "a string of its own" in done.err
    done = cuecard("import", tmp_path / "p.json", tmp_path / "three", *how)
    assert done.code == 2 and "needs a template for a record" in done.err
    done = cuecard("inspect", tmp_path / "one")
    assert done.code == 0 and "Judge it." in done.out and "no vectors: words alone" in done.out
    done = cuecard("export", tmp_path / "one", tmp_path / "p")
    assert done.code == 2 and "--form text" in done.err
