from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from cuecard.tasks.kinds.embedding import TEMPERATURE, contrastive_loss


def vectors(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(count, 6, generator=generator, dtype=torch.float64), dim=1)


def test_the_formula_in_float64() -> None:
    anchors, positives = vectors(5, 0), vectors(5, 1)
    found = contrastive_loss(anchors, positives, list("abcde"))
    for i in range(5):
        terms = [math.exp(float(anchors[i] @ positives[j]) / TEMPERATURE) for j in range(5)]
        assert float(found[i]) == pytest.approx(-math.log(terms[i] / sum(terms)), rel=1e-9)


def test_an_equal_text_is_no_negative() -> None:
    anchors, positives = vectors(4, 0), vectors(4, 1)
    positives[2] = positives[0]
    found = contrastive_loss(anchors, positives, ["a", "b", "a", "c"])
    kept = [0, 1, 3]
    assert float(found[0]) == pytest.approx(
        float(contrastive_loss(anchors[kept], positives[kept], ["a", "b", "c"])[0])
    )
    assert bool(found.isfinite().all())
    assert float(contrastive_loss(anchors[:1], positives[:1], ["a"])) == 0.0
