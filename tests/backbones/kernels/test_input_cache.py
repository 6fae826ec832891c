from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cuecard.backbones import CausalBackbone
from cuecard.backbones.kernels.input_cache import InputCache, Shape
from cuecard.errors import FileError
from cuecard.tasks import collate
from cuecard.types import Batch, Encoded, InputTokens, Placement
from support.tiny import CONFIGS, tiny_backbone

INPUTS = [(10 + i, 11, *range(20, 20 + 5 * i)) for i in range(1, 9)]


def batch(target: tuple[int, ...] = (7, 8), order: tuple[int, ...] = tuple(range(8))) -> Batch:
    return collate([(Encoded(INPUTS[i], (), Placement.at(len(INPUTS[i]))), target) for i in order])


def prompt() -> torch.Tensor:
    vectors = torch.randn(6, 32, generator=torch.Generator().manual_seed(0))
    return vectors.requires_grad_(True)


def answers(backbone: CausalBackbone, given: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    vectors = prompt()
    logits = backbone.forward(given, InputTokens(vectors))
    logits.log_softmax(-1)[:, 5].sum().backward()
    assert vectors.grad is not None
    return logits.detach(), vectors.grad


def remembered(backbone: CausalBackbone, file: Path | None = None) -> InputCache:
    cache = backbone.remember(INPUTS, file)
    assert cache is not None
    backbone.reset_counts()
    return cache


@pytest.mark.parametrize("kind", [kind for kind in CONFIGS if kind != "bloom-alibi"])
def test_remembered_inputs_give_the_same_logits_and_gradient(kind: str) -> None:
    plain = answers(tiny_backbone(kind), batch())
    backbone = tiny_backbone(kind)
    remembered(backbone)
    torch.testing.assert_close(answers(backbone, batch()), plain, atol=1e-4, rtol=1e-4)


def test_only_what_begins_at_the_slot_runs() -> None:
    backbone = tiny_backbone()
    cache = remembered(backbone)
    answers(backbone, batch())
    inputs = sum(map(len, INPUTS))
    assert backbone.counts["tokens"] == inputs + 8 * (6 + 1)  # once to fill the cache
    backbone.reset_counts()
    answers(backbone, batch())
    expected = {"calls": 1, "tokens": 8 * (6 + 1), "logits": 16, "remembered": inputs}
    assert backbone.counts == expected
    assert (cache.hits, cache.misses, cache.place) == (16, 1, "memory")


def test_other_inputs_and_other_slots_run_as_ever() -> None:
    backbone = tiny_backbone()
    remembered(backbone)
    new = collate([(Encoded((9, 9, *INPUTS[0]), (), Placement.at(5)), (7,))])
    torch.testing.assert_close(answers(backbone, new), answers(tiny_backbone(), new))
    early = collate([(Encoded(INPUTS[0], ()), (7,))])
    torch.testing.assert_close(answers(backbone, early), answers(tiny_backbone(), early))
    assert backbone.counts["remembered"] == 0


def test_an_infix_prompt_runs_from_its_slot() -> None:
    rows = [(Encoded((*ids, 30, 31), (), Placement.at(len(ids))), (7, 8)) for ids in INPUTS]
    plain = answers(tiny_backbone(), collate(rows))
    backbone = tiny_backbone()
    remembered(backbone)
    torch.testing.assert_close(answers(backbone, collate(rows)), plain, atol=1e-4, rtol=1e-4)
    assert backbone.counts["remembered"] > 0


def test_a_backbone_with_attention_of_its_own_remembers_nothing() -> None:
    backbone = tiny_backbone("bloom-alibi")
    assert backbone.remember(INPUTS) is None
    assert tiny_backbone().remember([()]) is None


def test_the_bits_do_not_depend_on_who_asks_first() -> None:
    one, other = tiny_backbone(), tiny_backbone()
    remembered(one)
    remembered(other)
    answers(one, batch(order=(7, 1)))
    assert all(
        torch.equal(a, b)
        for a, b in zip(answers(one, batch()), answers(other, batch()), strict=True)
    )


def test_no_room_is_taken_before_the_first_use() -> None:
    """So that what does not fit in memory can still go to disk, or be computed every time."""
    shape = Shape(layers=10**5, heads=10**5, size=10**5, dtype=torch.float32)
    cache = InputCache(INPUTS, shape, lambda group: torch.zeros(0))
    assert cache.nbytes == sum(map(len, INPUTS)) * 8 * 10**15


def test_a_cache_that_evaluation_began_goes_on_in_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cuecard.backbones.kernels.input_cache._GROUP_TOKENS", 8)  # several groups
    backbone = tiny_backbone()
    remembered(backbone)
    with torch.inference_mode():
        backbone.forward(batch(order=(0,)), InputTokens(prompt().detach()))
    expected = answers(tiny_backbone(), batch())
    torch.testing.assert_close(answers(backbone, batch()), expected, atol=1e-4, rtol=1e-4)


def test_a_file_serves_the_next_process(tmp_path: Path) -> None:
    file = tmp_path / "inputs.bin"
    first = tiny_backbone()
    cache = remembered(first, file)
    expected = answers(first, batch())
    assert cache.place == "disk" and file.stat().st_size > cache.nbytes
    again = tiny_backbone()
    cache = remembered(again, file)
    assert all(torch.equal(a, b) for a, b in zip(answers(again, batch()), expected, strict=True))
    assert cache.misses == 0 and cache.hits == 8


@pytest.mark.parametrize("damage", ["flip", "cut", "stale", "unfinished"])
def test_a_damaged_or_stale_file_is_made_anew(damage: str, tmp_path: Path) -> None:
    file = tmp_path / "inputs.bin"
    first = tiny_backbone(seed=1 if damage == "stale" else 0)
    remembered(first, file)
    answers(first, batch())
    size = file.stat().st_size
    with file.open("r+b") as handle:
        if damage == "flip":
            handle.seek(size - 10)
            handle.write(b"\xff\xff\xff\xff")
        elif damage == "cut":
            handle.truncate(size - 100)
        elif damage == "unfinished":  # values of a group without its checksum
            handle.seek(64)
            handle.write((-1).to_bytes(8, "little", signed=True))
    expected = answers(tiny_backbone(), batch())
    again = tiny_backbone()
    cache = remembered(again, file)
    torch.testing.assert_close(answers(again, batch()), expected, atol=1e-4, rtol=1e-4)
    assert cache.misses == 1
    assert [path.name for path in tmp_path.iterdir()] == ["inputs.bin"]


def test_a_full_disk_is_told_before_anything_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    backbone = tiny_backbone()
    remembered(backbone, tmp_path / "inputs")
    with pytest.raises(FileError, match="No space left"):
        answers(backbone, batch())
    assert list(tmp_path.iterdir()) == []
