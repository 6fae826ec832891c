"""A prompt opens on the form of the backbone that it was made on."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cuecard.artifacts.manifest import Manifest
from cuecard.cli.sources import PromptSource
from cuecard.errors import WrongBackboneError
from cuecard.runs.recipe import Recipe, run_recipe
from support.command_line import Call
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
    source = PromptSource(prompt=tmp_path / "run", device="cpu")
    bound = source.open(source.find())
    assert bound.backbone.fingerprint.quantize == "int8"
    with pytest.raises(WrongBackboneError, match="quantised as int8"):
        source.model_copy(update={"quantize": "none"}).open(source.find())


OPENED: list[str] = []


def _note(event: str, args: tuple[object, ...]) -> None:
    if event == "open" and isinstance(args[0], (str, bytes)):
        OPENED.append(os.fsdecode(args[0]))


@pytest.fixture(scope="module")
def opens() -> list[str]:
    """The paths of all files that this process opens from now on; a hook cannot be taken back."""
    sys.addaudithook(_note)
    return OPENED


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "{run}", "good fine"),
        ("eval", "{run}", "{data}", "--limit", "8"),
        ("inspect", "{run}"),
        ("export", "{run}", "{new}"),
        ("push", "{run}", "reviews", "--registry", "{new}"),
        ("ensemble", "{data}", "{run}", "--limit", "8"),
    ],
    ids=lambda words: str(words[0]),
)
def test_a_command_reads_and_parses_a_prompt_once(
    words: tuple[str, ...],
    cuecard: Call,
    run: Path,
    data: Path,
    tmp_path: Path,
    opens: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsed = []
    plain = Manifest.from_bytes

    def parse(content: bytes, where: str) -> Manifest:
        parsed.append(where)
        return plain(content, where)

    monkeypatch.setattr(Manifest, "from_bytes", parse)
    alone = shutil.copytree(run, tmp_path / "alone" / "run")
    opens.clear()
    given = {"run": alone, "data": data, "new": tmp_path / "new.npy"}
    done = cuecard(*(word.format(**given) for word in words))
    assert done.code == 0, done.err
    read = Counter(Path(path).name for path in opens if path.startswith(str(alone / "prompt")))
    names = ("prompt.json", "adapter_model.safetensors", "adapter_config.json")
    assert read == dict.fromkeys(names, 1)
    assert parsed == [str(alone / "prompt" / "prompt.json")]
