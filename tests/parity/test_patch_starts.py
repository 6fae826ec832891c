"""Starts from patches against their formulas, in float64 on a ViT's bare weights.

SPT (Wang et al., ICML 2024) and VIPAMIN (Park, Chung, NeurIPS 2025); see `methods/image_start.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from cuecard.methods import DeepPrompts, PromptTuning
from cuecard.training.trainables.initial_method import new_method
from cuecard.types import InputTokens, LayerTokens, Record
from support.oracles.vit import Weights, block, embedded, projected, weights_of
from support.tiny_vision import LAYERS, SPEC, WIDTH, pictures, shared_vision

RECORDS = pictures(12)


def made(method: Any, records: Sequence[Record] = RECORDS, seed: int = 0) -> Tensor:
    """[L, P, H], L being 1 of prompt tuning."""
    injection = new_method(shared_vision("vit"), SPEC, method, seed, records=records).injection()
    assert isinstance(injection, InputTokens | LayerTokens)
    vectors = injection.vectors.detach().double()
    return vectors if isinstance(injection, LayerTokens) else vectors[None]


def layer_inputs(weights: Weights, prompts: Tensor | None = None) -> Tensor:
    """[images, L, T, H] each layer's input of class token, prompt and patches."""
    found = []
    for record in RECORDS:
        x, e = embedded(weights, record.fields["image"])  # type: ignore[arg-type]
        seen = []
        for number in range(LAYERS):
            own = e[:0] if prompts is None else prompts[number]
            seen.append(torch.cat([x, own, e]))
            out = block(weights, f"layers.{number}.", seen[-1])
            x, e = out[:1], out[1 + len(own) :]
        found.append(torch.stack(seen))
    return torch.stack(found)


@pytest.mark.parametrize("deep", [False, True])
def test_sampled_patches_are_each_layers_own(deep: bool) -> None:
    inputs = layer_inputs(weights_of(shared_vision("vit")))[:, :, 1:]
    tokens = inputs.transpose(0, 1).flatten(1, 2)  # [L, images * patches, H]
    method = DeepPrompts if deep else PromptTuning
    vectors = made(method(length=20, init="patches"))
    distances, places = torch.cdist(vectors, tokens[: len(vectors)]).min(-1)
    assert len(vectors) == (LAYERS if deep else 1) and float(distances.max()) < 1e-4
    assert len(set(places[0].tolist())) == 20  # no patch twice
    assert all(torch.equal(places[0], each) for each in places)  # the same in every layer


@pytest.mark.parametrize("deep", [False, True])
def test_k_means_are_the_means_of_the_patches_nearest_to_them(deep: bool) -> None:
    inputs = layer_inputs(weights_of(shared_vision("vit")))[:, :, 1:]
    method = DeepPrompts if deep else PromptTuning
    vectors = made(method(length=5, init="patches", patches="k-means"))
    for means, tokens in zip(vectors, inputs.transpose(0, 1).flatten(1, 2), strict=False):
        nearest = torch.cdist(tokens, means).argmin(1)
        wanted = torch.stack([tokens[nearest == number].mean(0) for number in range(5)])
        torch.testing.assert_close(means, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("deep", [False, True])
def test_vipamin_is_its_formula(deep: bool) -> None:
    weights, layers, length = weights_of(shared_vision("vit")), LAYERS if deep else 1, 4
    bound = math.sqrt(6 / (3 * 8 * 8 + WIDTH))
    drawn = torch.rand(layers, length, WIDTH, generator=torch.Generator().manual_seed(0))
    drawn = ((2 * drawn - 1) * bound).double()
    inputs = layer_inputs(weights, drawn if deep else drawn.expand(LAYERS, -1, -1))
    wanted = []
    for number in range(layers):
        x = inputs[:, number, 1 + length :].mean(0)
        keys = torch.stack(
            [projected(weights, f"layers.{number}.", each)[1].mean(0) for each in inputs[:, number]]
        ).mean(0)[1:]
        outside = drawn[number] - drawn[number] @ torch.linalg.pinv(x) @ x
        for own, beyond in zip(keys[:length], outside, strict=True):
            alike = cosine_similarity(own[None], keys[length:])
            matched = x[alike.argsort(descending=True)[:3]].mean(0)
            wanted.append(0.75 * matched + 0.25 * beyond)
    method = DeepPrompts if deep else PromptTuning
    found = made(method(length=length, init="vipamin", vipamin_k=3, vipamin_lambda=0.25))
    torch.testing.assert_close(found.flatten(0, 1), torch.stack(wanted), atol=1e-4, rtol=1e-4)
