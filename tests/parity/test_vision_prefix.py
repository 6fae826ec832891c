"""Keys and values in front of a ViT's own against the formula, in float64 on its bare weights.

In layer l, softmax(q [P_k; K]^T / sqrt D) [P_v; V]; see `methods/p_tuning_v2.py`.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from cuecard.methods import PTuningV2
from cuecard.training.trainables.initial_method import new_method
from cuecard.types import Image, PrefixKV
from support.oracles.vit import (
    HEADS,
    Weights,
    block,
    check_formula,
    embedded,
    norm,
    projected,
    weights_of,
)
from support.tiny_vision import LAYERS, SPEC, WIDTH, pictures, shared_vision

SIZE = WIDTH // HEADS


def reference(weights: Weights, image: Image, prefix: Tensor) -> Tensor:
    """[H] norm(x_N) with a prefix [L, 2, heads, P, D]."""
    x = torch.cat(embedded(weights, image))
    for number, own in enumerate(prefix):
        x = block(weights, f"layers.{number}.", x, own)
    return norm(weights, "layernorm", x[:1])[0]


def test_states_and_gradients_are_those_of_the_formula() -> None:
    shape = LAYERS, 2, HEADS, 5, SIZE
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    check_formula(drawn, PrefixKV, reference)


@pytest.mark.parametrize("init", ["patches", "random", "zero"])
def test_they_start_from_what_patches_have(init: Any) -> None:
    weights, records = weights_of(shared_vision("vit")), pictures(12)
    method = PTuningV2(length=7, init=init)
    injection = new_method(shared_vision("vit"), SPEC, method, 0, records=records).injection()
    assert isinstance(injection, PrefixKV)
    found = injection.keys_values.detach().double()
    own = []  # [images, L, 2, heads, patches, D]
    for record in records:
        x, seen = torch.cat(embedded(weights, record.images[0])), []
        for number in range(LAYERS):
            _, keys, values = projected(weights, f"layers.{number}.", x)
            seen.append(torch.stack([keys, values])[:, :, 1:])
            x = block(weights, f"layers.{number}.", x)
        own.append(torch.stack(seen))
    every = torch.stack(own).permute(1, 2, 3, 0, 4, 5).flatten(3, 4)
    assert found.shape == (LAYERS, 2, HEADS, 7, SIZE)
    if init == "zero":
        assert not bool(found.any())
    elif init == "random":
        sizes, wanted = (x.pow(2).mean((2, 3, 4)).sqrt() for x in (found, every))
        torch.testing.assert_close(sizes, wanted, atol=0, rtol=0.5)
    else:
        distances = torch.cdist(
            found.permute(3, 0, 1, 2, 4).flatten(1), every.permute(3, 0, 1, 2, 4).flatten(1)
        )
        assert float(distances.min(1).values.max()) < 1e-4  # one patch's, in every layer and head
        assert len(set(distances.argmin(1).tolist())) == 7
