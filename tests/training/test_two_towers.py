"""A prompt goes into each tower of a model, and is trained there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cuecard.artifacts import Prompt
from cuecard.errors import BackboneError, ConfigError
from cuecard.evaluation.predict import predict
from cuecard.tasks import collate
from cuecard.tasks.splits import content_hash
from cuecard.training import TrainConfig, read_log
from cuecard.training.train import train
from cuecard.training.trainables.initial_method import new_method
from cuecard.types import Batch, Image, InputTokens, Record, Tower, Towers, by_tower
from support.data.reviews import SPEC, TEXT_SPEC, review_task
from support.tiny import tiny_backbone
from support.two_towers import TowerTuning, TwoTowers, picture_task

TOWERS: tuple[Tower, ...] = ("text", "vision")


def batch() -> Batch:
    task = picture_task(60)
    rows = [SPEC.encode(record, TwoTowers().tokenizer) for record in task.train[:4]]
    return collate([(row, (7 + number,)) for number, row in enumerate(rows)])


def vectors() -> dict[Tower, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {
        "text": torch.randn(2, 32, generator=generator).requires_grad_(),
        "vision": torch.randn(3, 16, generator=generator).requires_grad_(),
    }


@pytest.mark.parametrize("given", [("text",), ("vision",), TOWERS])
def test_gradients_reach_the_towers_that_are_given(given: tuple[Tower, ...]) -> None:
    backbone, rows, leaves = TwoTowers(), batch(), vectors()
    injection = Towers({tower: InputTokens(leaves[tower]) for tower in given})
    reads = backbone.read(rows, injection)
    assert not torch.allclose(reads.logits(), backbone.forward(rows, None))
    cross_entropy(reads.logits(), rows.target_ids).backward()  # type: ignore[no-untyped-call]
    for tower, leaf in leaves.items():
        reached = leaf.grad is not None and bool((leaf.grad.abs().sum(1) > 0).all())
        assert reached is (tower in given)
    assert all(parameter.grad is None for parameter in backbone.model.parameters())


@pytest.mark.parametrize(("trained", "lr"), [(("text",), 0.05), (("vision",), 0.3), (TOWERS, 0.05)])
def test_a_run_trains_through_each_tower(
    trained: tuple[Tower, ...], lr: float, tmp_path: Path
) -> None:
    backbone, method = TwoTowers(), TowerTuning(towers=trained, length=6)
    config = TrainConfig(steps=60, batch_rows=8, lr=lr, warmup=0)
    before = backbone.digest()
    run = train(backbone, picture_task(), method, config, folder=tmp_path / "run")
    steps = [row["loss"] for row in read_log(tmp_path / "run") if row["event"] == "step"]
    assert sum(steps[-8:]) < 0.9 * sum(steps[:8])
    start = by_tower(new_method(backbone, SPEC, method, config.seed).injection())
    found = by_tower(run.prompt.injection())
    for tower, piece in found.items():
        assert isinstance(piece, InputTokens)
        if tower in trained:
            assert bool((piece.vectors != start[tower].vectors).any(1).all())  # type: ignore[union-attr]
        else:
            assert not piece.length
    assert set(trained) <= set(found) and backbone.digest() == before


def test_what_is_trained_in_both_is_saved_and_asked_again(tmp_path: Path) -> None:
    backbone, task = TwoTowers(), picture_task(60)
    run = train(backbone, task, TowerTuning(), TrainConfig(steps=3))
    run.prompt.save(tmp_path / "prompt")
    loaded = Prompt.load(tmp_path / "prompt")
    pieces: dict[Tower, Any] = dict(by_tower(loaded.injection()))
    assert {tower: tuple(piece.vectors.shape) for tower, piece in pieces.items()} == {
        "text": (3, 32),
        "vision": (3, 16),
    }
    found = loaded.bind(TwoTowers()).predict(task.test)
    assert run.test is not None
    for ours, theirs in zip(found, run.test.predictions, strict=True):
        assert ours.scores == pytest.approx(theirs.scores, abs=1e-5)


def test_a_picture_is_read_and_is_part_of_what_a_row_is() -> None:
    backbone, rows = TwoTowers(), batch()
    assert len(rows.images) == 4 and all(len(images) == 1 for images in rows.images)
    swapped = replace(rows, images=rows.images[::-1])
    assert not torch.allclose(backbone.forward(rows, None), backbone.forward(swapped, None))
    one, other = (Record({"text": "same", "picture": Image(bytes([n] * 4))}, None) for n in (1, 2))
    assert content_hash(one) != content_hash(other)
    assert content_hash(one) == content_hash(replace(one))
    with pytest.raises(BackboneError, match="does not see images"):
        tiny_backbone().forward(rows, None)
    titled = [Record({"text": "same", "picture": Image(bytes(4))}, None)]
    with pytest.raises(ConfigError, match="from text alone"):
        predict(tiny_backbone(), TEXT_SPEC, titled)


def test_a_tower_that_a_model_does_not_have_is_refused() -> None:
    piece = InputTokens(torch.zeros(2, 32))
    with pytest.raises(BackboneError, match="no decoder tower"):
        TwoTowers().forward(batch(), Towers({"decoder": piece}))
    with pytest.raises(BackboneError, match="no vision tower"):
        tiny_backbone().forward(replace(batch(), images=()), Towers({"vision": piece}))
    with pytest.raises(ConfigError, match="does not take input-tokens in the vision"):
        train(tiny_backbone(), review_task(60), TowerTuning(), TrainConfig(steps=1))
