"""A prompt opens on the form of the backbone that it was made on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cuecard.cli.opening import open_prompt
from cuecard.errors import WrongBackboneError
from cuecard.runs.recipe import Recipe, run_recipe
from support.data.reviews import reviews
from support.tiny import tiny_model, tiny_tokenizer


def test_the_form_is_the_prompts_unless_told_otherwise(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    lines = [f'"{r.fields["text"]} {i}",{r.target}' for i, r in enumerate(reviews(60))]
    (tmp_path / "reviews.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    values: dict[str, Any] = {
        "data": {"path": str(tmp_path / "reviews.csv")},
        "backbone": str(tmp_path / "model"),
        "device": "cpu",
        "quantize": "int8",
        "training": {"steps": 2},
        "method": {"init": "random", "length": 3},
        "compare": False,
        "out": str(tmp_path / "run"),
    }
    run_recipe(Recipe.parse(values))
    _, model, _ = open_prompt(tmp_path / "run", None, device="cpu")
    assert model.fingerprint.quantize == "int8"
    with pytest.raises(WrongBackboneError, match="made on the int8 form"):
        open_prompt(tmp_path / "run", None, device="cpu", quantize="none")
