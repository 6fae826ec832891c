"""Dice and focal loss of a mask.

Over the cells i that are in the image, with logits x, p = sigmoid(x) and g in {0, 1}:

    dice = 1 - (2 sum p g + 1) / (sum p + sum g + 1)
    focal = mean of -a (1 - q)^2 log q, with q = p, a = 0.25 where g = 1, and q = 1 - p, a = 0.75
            where g = 0

Milletari, Navab, Ahmadi, "V-Net" (3DV 2016), section 3, with sums in place of squares and 1 added;
Lin et al., "Focal Loss for Dense Object Detection" (ICCV 2017), section 3, alpha 0.25 and gamma 2.
Their sum, as in PerSAM-F (Zhang et al., ICLR 2024; ZrrSkywalker/Personalize-SAM, `persam_f.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cuecard.lazy import functional, np, torch
from cuecard.types import Region

if TYPE_CHECKING:
    from torch import Tensor

ALPHA, GAMMA = 0.25, 2.0


def mask_losses(logits: Tensor, goals: Tensor, inside: Tensor) -> Tensor:
    """[N] dice + focal of masks.

    Args:
        logits: [N, C] of C cells.
        goals: [N, C] 1 for a cell in the part, else 0.
        inside: [N, C] 1 for a cell in the image, else 0.
    """
    shares = logits.sigmoid() * inside
    both, either = (shares * goals).sum(1), shares.sum(1) + (goals * inside).sum(1)
    dice = 1 - (2 * both + 1) / (either + 1)
    cross = functional.binary_cross_entropy_with_logits(logits, goals, reduction="none")
    wrong = (-cross).exp().neg().add(1)  # 1 - q
    weight = ALPHA * goals + (1 - ALPHA) * (1 - goals)
    focal = (weight * wrong**GAMMA * cross * inside).sum(1) / inside.sum(1)
    return dice + focal


def goals_of(regions: Sequence[Region]) -> tuple[Tensor, Tensor]:
    """What is in the parts and what is in the images: two of [N, C] float32, row by row."""
    shape = len(regions), regions[0].frame.grid, regions[0].frame.grid
    goals, inside = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for number, region in enumerate(regions):
        rows, columns = region.frame.cells
        packed = np.frombuffer(region.goal, np.uint8)
        bits = np.unpackbits(packed, count=rows * columns).reshape(rows, columns)
        goals[number, :rows, :columns], inside[number, :rows, :columns] = bits, 1
    return torch.from_numpy(goals).flatten(1), torch.from_numpy(inside).flatten(1)
