"""Dice and focal loss against their formulas in float64, pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cuecard.masks import bits_of, bits_of_runs, mask_image, runs_of
from cuecard.metrics.overlap import overlap
from cuecard.tasks.mask_loss import goals_of, mask_losses
from cuecard.types import Encoded, Frame, Image, Record, Region
from support.tiny_sam import SPEC, blobs, shared_sam


def by_formula(logits: list[float], goals: list[int]) -> float:
    """Of the cells in the image alone."""
    shares = [1 / (1 + math.exp(-x)) for x in logits]
    both = math.fsum(p * g for p, g in zip(shares, goals, strict=True))
    dice = 1 - (2 * both + 1) / (math.fsum(shares) + sum(goals) + 1)
    focal = 0.0
    for p, g in zip(shares, goals, strict=True):
        q, a = (p, 0.25) if g else (1 - p, 0.75)
        focal -= a * (1 - q) ** 2 * math.log(q)
    return dice + focal / len(goals)


def test_same_as_the_formula() -> None:
    records = [*blobs(4), blobs(1)[0]]
    rows = [SPEC.encode(record, shared_sam().tokenizer) for record in records]
    grid = 32
    logits = torch.randn(5, grid * grid, generator=torch.Generator().manual_seed(0)) * 4
    wanted = []
    for record, row, values in zip(records, rows, logits.double(), strict=True):
        assert row.region is not None and record.target is not None
        bits = bits_of(record.target)  # type: ignore[arg-type]
        height, width = row.region.frame.cells
        assert bits.shape == (height, width)  # the longer side is 32 pixels as it is
        inside = values.reshape(grid, grid)[:height, :width].flatten().tolist()
        wanted.append(by_formula(inside, bits.astype(int).flatten().tolist()))
    each = mask_losses(logits, *goals_of([row.region for row in rows if row.region]))
    assert each.tolist() == pytest.approx(wanted, rel=1e-5)
    whole = SPEC.task_kind.mask_loss(SPEC, rows, logits)
    assert float(whole) == pytest.approx(math.fsum(wanted), rel=1e-5)


def test_no_gradient_beside_the_image_and_none_that_is_not_finite() -> None:
    frame = Frame(height=16, width=32, seen=(16, 32), side=32, grid=32)
    goal = np.packbits(np.ones(16 * 32, np.uint8)).tobytes()
    rows = [Encoded((), (), region=Region(frame, goal=goal))]
    logits = torch.linspace(-200, 200, 32 * 32)[None].requires_grad_()
    SPEC.task_kind.mask_loss(SPEC, rows, logits).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all() and not logits.grad[0, 16 * 32 :].any()
    assert logits.grad[0, : 16 * 32].any()


def test_half_a_cell_is_in_the_part() -> None:
    """Of a larger image each cell is in the part whose pixels are by half."""
    bits = np.zeros((64, 64), np.bool_)
    bits[:32], bits[:, :3] = True, True
    image = Image(blobs(1)[0].images[0].content, "x", (64, 64))
    labelled = Record({"image": image}, mask_image(bits))
    assert shared_sam().processor.frame(64, 64).cells == (32, 32)
    region = SPEC.encode(labelled, shared_sam().tokenizer).region
    assert region is not None
    goals, inside = goals_of([region])
    cells = goals.reshape(32, 32).bool()
    assert inside.all() and cells[:16].all() and cells[:, :2].all()
    assert not cells[16:, 2:].any()


@pytest.mark.parametrize("filled", ["some", "none", "all"])
def test_overlap_and_runs(filled: str) -> None:
    """IoU and dice by sets of pixels; runs as COCO's document reads them, column by column."""
    rng = np.random.default_rng(0)
    one, other = rng.random((2, 9, 7)) < {"some": 0.4, "none": 0.0, "all": 1.1}[filled]
    a, b = (set(map(tuple, np.argwhere(bits).tolist())) for bits in (one, other))
    iou = len(a & b) / len(a | b) if a | b else 1.0
    dice = 2 * len(a & b) / (len(a) + len(b)) if a | b else 1.0
    assert overlap(one, other) == pytest.approx((iou, dice))
    assert np.array_equal(bits_of_runs(runs_of(one)), one)
    if filled == "some":
        assert runs_of(np.asarray([[1, 1, 0], [0, 1, 1]], np.bool_)) == (
            '{"size":[2,3],"counts":[0,1,1,2,1,1]}'
        )
