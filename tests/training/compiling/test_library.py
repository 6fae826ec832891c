"""Several texts become prompts in shared passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cuecard.errors import ConfigError
from cuecard.tasks import TaskSpec
from cuecard.training import TrainConfig
from cuecard.training.compiling.compiler import TextCompiler
from cuecard.training.compiling.full_text import FullText
from cuecard.training.compiling.library import TextLibrary
from cuecard.training.compiling.settings import CompileConfig
from cuecard.types import Record
from support.data.reviews import reviews
from support.dying import Killed, counted
from support.tiny import tiny_backbone

TEXTS = {
    "good": "it is good and not bad : good for one , bad for none .",
    "dog": "the lazy dog jumps over it : one for all and all for one .",
}
SPEC = TaskSpec(kind="text-to-text", template="{prompt}\n\n{text}\nAnswer:", max_new_tokens=4)
INPUTS = [Record(record.fields, None) for record in reviews(30)]
CONFIG = TrainConfig(steps=6, batch_rows=4, eval_every=3, checkpoint_every=2)


def compilers(folder: Path | None, backbone: Any = None) -> dict[str, TextCompiler]:
    backbone = backbone or tiny_backbone()
    settings = CompileConfig(into=(2, 4), start="first")
    return {
        name: TextCompiler(
            FullText.of(backbone, SPEC, text),
            INPUTS,
            settings,
            CONFIG,
            folder=folder and folder / name,
        )
        for name, text in TEXTS.items()
    }


def test_the_prompts_are_those_of_each_text_alone() -> None:
    together = TextLibrary(compilers(None)).run()
    alone = {name: one.run() for name, one in compilers(None).items()}
    for name, run in together.items():
        assert run.text.digest == alone[name].text.digest
        for ours, theirs in zip(run.lengths, alone[name].lengths, strict=True):
            assert ours.length == theirs.length and ours.run.best_step == theirs.run.best_step
            torch.testing.assert_close(
                ours.run.prompt.vectors, theirs.run.prompt.vectors, atol=1e-4, rtol=1e-3
            )


def test_a_killed_library_goes_on_to_the_same_end(tmp_path: Path) -> None:
    whole = TextLibrary(compilers(tmp_path / "a"), folder=tmp_path / "a").run()
    deaths = 0
    for calls in (3, *[14] * 5):
        backbone = tiny_backbone()
        made = compilers(tmp_path / "b", backbone)
        counted(backbone, calls)
        try:
            TextLibrary(made, folder=tmp_path / "b").run()
        except Killed:
            deaths += 1
    assert deaths >= 3
    turned = dict(reversed(compilers(tmp_path / "b").items()))
    resumed = TextLibrary(turned, folder=tmp_path / "b").run()
    for name, run in whole.items():
        assert resumed[name].prompt.digest == run.prompt.digest
        assert (tmp_path / "b" / name / "lengths" / "2" / "log.jsonl").is_file()


def test_names_are_folders() -> None:
    for made in ({}, {"a/b": compilers(None)["dog"]}):
        with pytest.raises(ConfigError, match="not the names of texts"):
            TextLibrary(made)
