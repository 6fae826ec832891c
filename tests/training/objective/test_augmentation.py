from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cuecard.errors import ConfigError
from cuecard.images import from_array, pixels_of
from cuecard.methods import DeepPrompts, PromptTuning
from cuecard.training import TrainConfig
from cuecard.training.objective.augmentation import augmented
from cuecard.training.train import train
from cuecard.types import Encoded, Image
from support.data.reviews import review_task
from support.tiny import shared_backbone
from support.tiny_vision import drawn_task, tiny_vision

VALUES = np.random.default_rng(0).integers(0, 256, (16, 24, 3)).astype(np.uint8)
ROW = Encoded((), (), images=(from_array(VALUES),), goal=(1.0,))


def changed(kinds: Any, *draw: int, count: int = 1) -> list[Any]:
    rows = augmented([ROW] * count, kinds, draw)
    assert all(row.goal == ROW.goal and row.images[0].once for row in rows)
    return [np.asarray(pixels_of(row.images[0])) for row in rows]


@pytest.mark.parametrize("kinds", [("flip",), ("crop",), ("shift",), ("flip", "crop", "shift")])
def test_the_same_draw_gives_the_same_images(kinds: Any) -> None:
    first, again, other = (changed(kinds, 3, 0, n, count=9) for n in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len({one.tobytes() for one in first}) > 1
    assert {one.shape for one in first} == {VALUES.shape}


def test_half_of_the_images_are_mirrored() -> None:
    found = changed(("flip",), 0, 0, 1, count=400)
    mirrored = [np.array_equal(one, VALUES[:, ::-1]) for one in found]
    assert all(mirrored[n] or np.array_equal(one, VALUES) for n, one in enumerate(found))
    assert 160 < sum(mirrored) < 240


def test_a_shift_moves_the_image_by_up_to_an_eighth() -> None:
    seen = set()
    for one in changed(("shift",), 0, 0, 1, count=200):
        padded = np.pad(VALUES, ((2, 2), (3, 3), (0, 0)), mode="edge")
        cuts = {(y, x) for y in range(5) for x in range(7)}
        seen |= {(y, x) for y, x in cuts if np.array_equal(padded[y : y + 16, x : x + 24], one)}
    assert seen == {(y, x) for y in range(5) for x in range(7)}


def test_a_crop_is_at_least_half_of_the_image() -> None:
    """Told by a slope: what a crop spans of its values is what it shows of the image."""
    slope = np.zeros((64, 64, 3))
    slope[..., 0], slope[..., 1] = np.mgrid[:64, :64] * 4
    row = Encoded((), (), images=(from_array(slope.astype(np.uint8)),))
    shares = []
    for one in augmented([row] * 200, ("crop",), (0, 0, 1)):
        values = np.asarray(pixels_of(one.images[0])).astype(float)
        high, wide = (np.ptp(values[..., c]) / 252 for c in (0, 1))
        assert 0.55 < high / wide < 1.8
        shares.append(high * wide)
    assert 0.45 < min(shares) < 0.6 and 0.9 < max(shares) <= 1


def test_a_run_that_is_resumed_sees_the_same_images(tmp_path: Path) -> None:
    task, method = drawn_task(40), DeepPrompts(length=2)
    config = TrainConfig(
        steps=4, batch_rows=4, eval_every=4, checkpoint_every=1, augment=("flip", "crop")
    )

    def die(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 3:
            raise KeyError("died")

    whole = train(tiny_vision(), task, method, config, folder=tmp_path / "whole")
    with pytest.raises(KeyError, match="died"):
        train(tiny_vision(), task, method, config, folder=tmp_path / "cut", observer=die)
    cut = train(tiny_vision(), task, method, config, folder=tmp_path / "cut")
    assert cut.prompt.digest == whole.prompt.digest


def test_changed_images_are_embedded_at_every_step_and_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, embedded, digests = drawn_task(40), {}, set()
    rows = (*task.train, *task.validation, *task.test)
    plain = {image.digest for row in rows for image in row.images}
    for kinds in ((), ("flip", "crop")):
        backbone, sizes, steps = tiny_vision(), list[int](), list[int]()
        embed = backbone.tower.embed

        def counted(pixels: Any, embed: Any = embed, sizes: list[int] = sizes) -> Any:
            sizes.append(len(pixels))
            return embed(pixels)

        def told(event: dict[str, Any], steps: list[int] = steps) -> None:
            steps += [event["targets"]] if event["event"] == "step" else []

        monkeypatch.setattr(backbone.tower, "embed", counted)
        config = TrainConfig(steps=4, batch_rows=4, eval_every=2, augment=kinds)
        run = train(backbone, task, DeepPrompts(length=2), config, observer=told)
        embedded[kinds] = sum(sizes)
        digests.add(run.prompt.digest)
        # What is kept besides is of the pictures of the prompt's test vectors.
        assert len(backbone.kept._kept.keys() - plain) == 2
    assert embedded["flip", "crop"] == embedded[()] + sum(steps) and len(digests) == 2
    assert "augment" not in TrainConfig().model_dump()


def test_texts_are_not_changed() -> None:
    config = TrainConfig(augment=("flip",))
    with pytest.raises(ConfigError, match="only training images are changed"):
        train(shared_backbone(), review_task(40), PromptTuning(length=2), config)


def test_an_image_that_is_shown_once_is_an_image_like_any_other() -> None:
    assert {Image(b"x", once=True)} == {Image(b"x")}
