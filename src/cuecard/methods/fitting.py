"""A linear layer fitted so that a network begins where it should."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cuecard.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


def fitted(features: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Weight [H, h] and bias [H] of the linear layer that takes features [P, h] to vectors [P, H].

    The smallest such weights, in float64; the mean goes into the bias. Exact to rounding while P is
    no more than h and no two features are equal.
    """
    f, v = features.double(), vectors.double()
    middle = f.mean(0), v.mean(0)
    weight = torch.linalg.pinv(f - middle[0]) @ (v - middle[1])
    return weight.T.float(), (middle[1] - middle[0] @ weight).float()
