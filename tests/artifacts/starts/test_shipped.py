"""The meta-learned starts that come with the package."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.multitask.meta_tasks import TASKS
from benchmarks.multitask.sets import TARGETS
from cuecard.artifacts.meta_init import MetaInit
from cuecard.artifacts.starts import shipped
from cuecard.artifacts.starts.shipped import FOLDER, shipped_start
from cuecard.catalogue import BACKBONES
from cuecard.errors import ConfigError
from cuecard.methods import MPT, PromptTuning
from cuecard.training import TrainConfig
from cuecard.training.few_shot.lm_bff import DemonstrationTraining
from cuecard.training.multitask import multitask
from cuecard.training.train import train
from support.data.reviews import review_task
from support.tiny import shared_backbone, tiny_backbone

FILES = sorted(FOLDER.glob("*.safetensors"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Starts for two tiny backbones, in place of the package's."""
    for kind in ("gpt2", "llama"):
        vectors = torch.full((3, 32), 0.5 if kind == "llama" else 0.25)
        made = MetaInit.create(vectors, shared_backbone(kind), ["a", "b"], {}, 1)
        made.save(tmp_path / f"tiny-{kind}.safetensors")
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    return tmp_path


def test_it_is_found_by_the_fingerprint(folder: Path) -> None:
    for kind, value in (("llama", 0.5), ("gpt2", 0.25)):
        assert float(shipped_start(shared_backbone(kind)).vectors[0, 0]) == value
    with pytest.raises(ConfigError, match="no meta-learned start is shipped") as refused:
        shipped_start(shared_backbone("llama", 1))
    assert refused.value.expected == "tiny-gpt2, tiny-llama"


def test_the_init_without_a_file_takes_it(folder: Path) -> None:
    config = TrainConfig(steps=1, lr=1e-9)
    run = train(tiny_backbone(), review_task(40), PromptTuning(init="meta"), config)
    torch.testing.assert_close(run.prompt.vectors, torch.full((3, 32), 0.5))


def test_what_shares_a_prompt_takes_it_too(folder: Path) -> None:
    backbone, config, wanted = (
        tiny_backbone(),
        TrainConfig(steps=1, lr=1e-9),
        torch.full((3, 32), 0.5),
    )
    tasks = {"reviews": review_task(40), "more": review_task(60)}
    found = multitask(backbone, tasks, MPT(init="meta", factors_lr=1e-9), config, distil=0)
    torch.testing.assert_close(found.shared.start(), wanted)
    settings = PromptTuning(init="meta")
    shown = DemonstrationTraining(backbone, tasks["more"], settings, config, sets=2).run()
    torch.testing.assert_close(shown.best.prompt.vectors, wanted)


def test_without_one_nothing_is_trained(folder: Path) -> None:
    backbone, task = shared_backbone("llama", 1), review_task(40)
    with pytest.raises(ConfigError, match="no meta-learned start is shipped"):
        multitask(backbone, {"a": task, "b": task}, MPT(init="meta"))
    with pytest.raises(ConfigError, match="no meta-learned start is shipped"):
        DemonstrationTraining(backbone, task, PromptTuning(init="meta"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_file_is_small_and_of_a_backbone_of_the_catalogue(path: Path) -> None:
    found = MetaInit.load(path)
    assert path.stat().st_size < 200_000 and path.stem in BACKBONES
    assert found.manifest.backbone.name == path.stem
    assert bool(found.vectors.isfinite().all()) and found.manifest.rounds > 0


def test_no_task_that_is_tested_on_is_learnt_from() -> None:
    learnt = {name for path in FILES for name in MetaInit.load(path).manifest.tasks}
    assert learnt <= {one.name for one in TASKS}
    for target in TARGETS:
        stem = target.table.split("_", 1)[1]
        assert not [one.table for one in TASKS if one.table.split("_", 1)[1].startswith(stem)]
    tested = ("movie_sent", "glue_mnli", "agnews", "yelp", "amzn_rev")
    assert not [one.table for one in TASKS if any(part in one.table for part in tested)]
