"""The contrastive loss of pairs of texts.

InfoNCE (van den Oord et al. 2018, arXiv:1807.03748, section 2.3) with the other pairs of a batch as
negatives (Henderson et al. 2017, arXiv:1705.00652, section 4.4), on cosines over a temperature of
0.05 (Gao et al. 2021, arXiv:2104.08821, section 3).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from cuecard.lazy import functional, torch

if TYPE_CHECKING:
    from torch import Tensor


TEMPERATURE = 0.05


def contrastive_loss(anchors: Tensor, positives: Tensor, texts: Sequence[Hashable]) -> Tensor:
    """[n] -log exp(a_i p_i / t) / sum_j exp(a_i p_j / t).

    Args:
        anchors, positives: [n, H] of unit length.
        texts: what the positives are; an equal one is no negative.
    """
    scores = anchors @ positives.T / TEMPERATURE
    number = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    which = torch.tensor([number[text] for text in texts], device=scores.device)
    own = torch.arange(len(which), device=scores.device)
    equal = (which[:, None] == which) & (own[:, None] != own)
    return functional.cross_entropy(scores.masked_fill(equal, float("-inf")), own, reduction="none")
