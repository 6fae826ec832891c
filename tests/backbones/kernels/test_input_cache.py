from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cuecard.backbones import CausalBackbone
from cuecard.backbones.kernels.input_cache import InputCache, Shape
from cuecard.errors import FileError
from cuecard.tasks import collate
from cuecard.types import Batch, Encoded, InputTokens, LayerTokens, Placement, PrefixKV
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
    cache = InputCache(INPUTS, shape, lambda group, front: torch.zeros(0))
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


FRONT = tuple(range(40, 70))
BEHIND = [FRONT + ids for ids in INPUTS]


def rows_behind(slots: list[int], ending: tuple[int, ...] = ()) -> Batch:
    pairs = zip(BEHIND, slots, strict=True)
    rows = [Encoded((*ids, *ending), (), Placement.at(slot)) for ids, slot in pairs]
    return collate([(row, (7, 8)) for row in rows])


LATE = [len(ids) for ids in BEHIND]
EARLY = [len(FRONT)] * len(BEHIND)


@pytest.mark.parametrize("slots", [LATE, EARLY], ids=["late", "early"])
@pytest.mark.parametrize("kind", [kind for kind in CONFIGS if kind != "bloom-alibi"])
def test_behind_a_common_front_the_same_logits_and_gradient(kind: str, slots: list[int]) -> None:
    given = rows_behind(slots)
    plain = answers(tiny_backbone(kind), given)
    backbone = tiny_backbone(kind)
    cache = backbone.remember([ids[:slot] for ids, slot in zip(BEHIND, slots, strict=True)])
    assert cache is not None and cache.front_ids == FRONT
    torch.testing.assert_close(answers(backbone, given), plain, atol=1e-4, rtol=1e-4)
    assert backbone.counts["remembered"] == sum(slots)


def test_a_common_front_is_run_and_kept_once() -> None:
    backbone = tiny_backbone()
    cache = backbone.remember(BEHIND)
    assert cache is not None
    own = sum(map(len, INPUTS))
    assert cache.tokens == len(FRONT) + own
    assert cache.nbytes == cache.tokens * 2 * 2 * 2 * 8 * 4  # layers, keys and values, heads, size
    backbone.reset_counts()
    answers(backbone, rows_behind(LATE))
    assert backbone.counts["tokens"] == len(FRONT) + own + 8 * (6 + 1)
    backbone.reset_counts()
    answers(backbone, rows_behind(LATE))
    assert backbone.counts["tokens"] == 8 * (6 + 1)


def test_what_follows_the_front_is_shared_in_a_pass() -> None:
    """An early prompt behind a front runs once for all rows, and the front in no pass at all."""
    backbone = tiny_backbone()
    cache = backbone.remember([FRONT])
    assert cache is not None and cache.tokens == len(FRONT)
    answers(backbone, rows_behind(EARLY))
    backbone.reset_counts()
    answers(backbone, rows_behind(EARLY))
    assert backbone.counts["tokens"] == 6 + sum(len(ids) + 1 for ids in INPUTS)


def test_rows_that_are_not_kept_go_on_from_the_front() -> None:
    backbone = tiny_backbone()
    backbone.remember([FRONT])
    backbone.reset_counts()
    plain = answers(tiny_backbone(), rows_behind(LATE))
    torch.testing.assert_close(answers(backbone, rows_behind(LATE)), plain, atol=1e-4, rtol=1e-4)
    own = sum(map(len, INPUTS)) + 8 * (6 + 1)
    assert backbone.counts["tokens"] == len(FRONT) + own


@pytest.mark.parametrize("slots", [LATE, EARLY], ids=["late", "early"])
def test_an_evaluation_runs_a_front_once_or_takes_all_that_is_kept(slots: list[int]) -> None:
    backbone = tiny_backbone()
    backbone.remember([ids[:slot] for ids, slot in zip(BEHIND, slots, strict=True)])
    answers(backbone, rows_behind(slots))
    pairs = zip(BEHIND, slots, strict=True)
    rows = [Encoded((*ids, 9, 9), (), Placement.at(slot)) for ids, slot in pairs]
    injection = InputTokens(prompt().detach())
    backbone.reset_counts()
    with torch.no_grad(), backbone.sharing(rows, injection):
        for row in rows:
            backbone.forward(collate([(row, ())], read="next"), injection)
    late = 8 * (6 + 2)
    early = len(FRONT) + 6 + sum(len(ids) + 2 for ids in INPUTS)
    assert backbone.counts["tokens"] == (late if slots is LATE else early)


@pytest.mark.parametrize("form", ["shifts", "keys-values", "late", "layers", "in front"])
def test_a_front_is_for_prompts_that_leave_it_as_it_is(form: str) -> None:
    drawn = torch.randn(2, 2, 2, 3, 8, generator=torch.Generator().manual_seed(0)) * 0.4
    forms = {
        "shifts": InputTokens(drawn.view(-1, 32)[:2], shifts=drawn.view(-1, 32)),
        "keys-values": PrefixKV(drawn),
        "late": PrefixKV(drawn, late=True),
        "layers": LayerTokens(drawn.view(2, 3, 32)),
        "in front": InputTokens(drawn.view(-1, 32)),
    }
    given = rows_behind([5] * 8 if form == "in front" else EARLY)
    plain = tiny_backbone().forward(given, forms[form])
    backbone = tiny_backbone()
    backbone.remember([FRONT])
    torch.testing.assert_close(backbone.forward(given, forms[form]), plain, atol=1e-4, rtol=1e-4)
    assert (backbone.counts["remembered"] > 0) == (form in ("layers", "late"))


@pytest.mark.parametrize("front", [len(FRONT) - 4, len(FRONT)])
def test_late_keys_and_values_behind_a_front(front: int) -> None:
    """What is between the front and the prompt's place does not see them, what follows does."""
    values = torch.randn(2, 2, 2, 3, 8, generator=torch.Generator().manual_seed(0)) * 0.4
    values.requires_grad_()
    given, injection = rows_behind(EARLY), PrefixKV(values, late=True)
    found = []
    for kept in ([], [FRONT[:front]]):
        backbone = tiny_backbone()
        backbone.remember(kept)
        logits = backbone.forward(given, injection)
        (grad,) = torch.autograd.grad(logits.log_softmax(-1)[:, 5].sum(), values)
        found.append((logits.detach(), grad))
    torch.testing.assert_close(found[1], found[0], atol=1e-4, rtol=1e-4)
    shared = tiny_backbone()
    slots = [front] * len(BEHIND)
    rows = [Encoded(ids, (), Placement.at(s)) for ids, s in zip(BEHIND, slots, strict=True)]
    with torch.no_grad():
        plain = shared.forward(collate([(row, ()) for row in rows], read="next"), injection)
        shared.reset_counts()
        with shared.sharing(rows, injection):
            apart = [shared.forward(collate([(row, ())], read="next"), injection) for row in rows]
    torch.testing.assert_close(torch.cat(apart), plain, atol=1e-4, rtol=1e-4)
    assert shared.counts["tokens"] == front + sum(len(ids) - front for ids in BEHIND)


def test_a_damaged_front_in_a_file_is_computed_again(tmp_path: Path) -> None:
    file = tmp_path / "inputs.bin"
    first = tiny_backbone()
    first.remember(BEHIND, file)
    expected = answers(first, rows_behind(LATE))
    again = tiny_backbone()
    cache = again.remember(BEHIND, file)
    assert cache is not None
    found = answers(again, rows_behind(LATE))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert cache.misses == 0
    with file.open("r+b") as handle:  # the values begin with the front
        handle.seek(file.stat().st_size - cache.nbytes)
        handle.write(b"\xff\xff\xff\xff")
    other = tiny_backbone()
    cache = other.remember(BEHIND, file)
    assert cache is not None
    found = answers(other, rows_behind(LATE))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert cache.misses == 1


def test_what_is_remembered_can_be_left_aside() -> None:
    """With layers that are changed for a while, its keys and values would be others'."""
    backbone = tiny_backbone()
    cache = remembered(backbone)
    plain = answers(backbone, batch())
    backbone.reset_counts()
    with backbone.forgetting():
        torch.testing.assert_close(answers(backbone, batch()), plain, atol=1e-4, rtol=1e-4)
        assert backbone.counts["remembered"] == 0
    assert backbone.inputs is cache
    answers(backbone, batch())
    assert backbone.counts["remembered"] == sum(map(len, INPUTS))
