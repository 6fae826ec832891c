from __future__ import annotations

from pathlib import Path

import pytest

from cuecard.artifacts import Prompt
from cuecard.backbones import FAMILIES
from cuecard.methods import METHODS
from support.command_line import Call
from support.tiny_vision import LAYERS, WIDTH, save_vision


def test_the_table(cuecard: Call) -> None:
    shown = cuecard("methods").out
    assert all(name in shown for name in METHODS) and "values_lr=0.01 (--lr)" in " ".join(
        shown.split()
    )
    rows = cuecard("methods", "--json").json["methods"]
    assert [row["method"] for row in rows] == list(METHODS)
    rates = {row["method"]: row["rate"] for row in rows}
    assert (rates["p-tuning-v2"], rates["residual"]) == ("values_lr", None)
    missing = {row["method"]: row["missing"] for row in rows}
    every: dict[str, list[str]] = {name: [] for name in FAMILIES}
    assert missing["prompt-tuning"] == every
    assert missing["wayward"] == {
        **every,
        **{name: ["words"] for name in ("vision", "two-tower", "segmentation")},
    }
    assert missing["prefix-tuning"] == {
        **every,
        **{name: ["prefix-kv"] for name in ("seq2seq", "segmentation")},
    }


def test_how_many_parameters_are_trained_on_a_backbone(cuecard: Call, backbone: Path) -> None:
    done = cuecard("methods", "--backbone", backbone, "--json")
    rows = {row["method"]: row for row in done.json["methods"]}
    trained, total = (rows["prompt-tuning"][name] for name in ("trained_parameters", "parameters"))
    assert 0 < trained < total and trained % 32 == 0
    # What folds to as many vectors trains its encoder too.
    assert rows["p-tuning"]["trained_parameters"] > trained
    said = f"prompt-tuning: trained {trained:,} of {total:,} ({100 * trained / total:.3f}%)"
    assert said in cuecard("methods", "--backbone", backbone).out


def test_what_is_trained_of_a_vision_encoder(cuecard: Call, tmp_path: Path) -> None:
    done = cuecard("methods", "--backbone", save_vision(tmp_path / "vit"), "--json")
    rows = {row["method"]: row for row in done.json["methods"]}
    counts = {name: row.get("trained_parameters") for name, row in rows.items()}
    assert counts["prompt-tuning"] == 20 * WIDTH
    assert counts["deep-prompts"] == LAYERS * 20 * WIDTH
    assert counts["p-tuning-v2"] == LAYERS * 2 * 20 * WIDTH
    assert counts["wayward"] is None and counts["dept"] is None
    assert rows["deep-prompts"]["settings"]["vipamin_k"] == 8  # also where a recipe leaves it out


def test_any_method_is_trained_by_its_name(
    cuecard: Call, backbone: Path, data: Path, tmp_path: Path
) -> None:
    words = ("train", data, "--text-field", "review", "--backbone", backbone, "--steps", 2)
    own = ("--method", "p-tuning", "--length", 3, "--init", "random", "--set", "method.hidden=8")
    out = ("--no-compare", "--out", tmp_path / "run")
    done = cuecard(*words, *own, "--set", "method.encoder=lstm", *out)
    assert done.code == 0, done.err
    prompt = Prompt.load(tmp_path / "run" / "prompt")
    assert prompt.manifest.method == "p-tuning" and len(prompt.vectors) == 3
    assert prompt.manifest.method_config["hidden"] == 8
    assert prompt.manifest.method_config["encoder"] == "lstm"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--method", "p_tunning"), "did you mean p-tuning"),
        (("--method", "residual", "--set", "method.botleneck=3"), "did you mean bottleneck"),
        (("--set", "method.length=[1"), "not YAML"),
        (("--set", "training.steps=2024-13-01"), "not YAML"),
        (("--set", "method={length: 1, length: 2}"), "not YAML"),
        (("--set", "method.length"), "NAME=VALUE"),
        (("--set", "training.stepz=3"), "did you mean steps"),
    ],
)
def test_wrong_settings(cuecard: Call, data: Path, words: tuple[str, ...], said: str) -> None:
    done = cuecard("train", data, *words)
    assert done.code == 2 and said in done.err
