"""VPT against its formula, in float64 and without transformers, on a ViT's bare weights.

Jia et al., "Visual Prompt Tuning" (ECCV 2022), section 3.1:
deep     [x_i, _, E_i] = L_i([x_{i-1}, P_{i-1}, E_{i-1}]), i = 1 .. N
shallow  [x_1, Z_1, E_1] = L_1([x_0, P, E_0]), [x_i, Z_i, E_i] = L_i([x_{i-1}, Z_{i-1}, E_{i-1}])
y = Head(norm(x_N))
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from cuecard.images import pixels_of
from cuecard.methods import DeepPrompts, PromptTuning
from cuecard.tasks import collate
from cuecard.training.trainables.initial_method import new_method
from cuecard.types import Image, InputTokens, LayerTokens
from support.tiny_vision import LAYERS, SPEC, WIDTH, pictures, shared_vision

HEADS = 4
Weights = Mapping[str, Tensor]


def reference(weights: Weights, image: Image, prompt: Tensor) -> Tensor:
    """[H] norm(x_N) of prompts [N, P, H] (deep) or [1, P, H] (shallow)."""
    values = torch.tensor(np.asarray(pixels_of(image)), dtype=torch.float64) / 255 * 2 - 1
    patches = [
        values[i : i + 8, j : j + 8].permute(2, 0, 1).flatten()
        for i in range(0, 24, 8)
        for j in range(0, 24, 8)
    ]
    table = weights["embeddings.patch_embeddings.projection.weight"].flatten(1)
    bias = weights["embeddings.patch_embeddings.projection.bias"]
    places = weights["embeddings.position_embeddings"][0]
    x = weights["embeddings.cls_token"][0] + places[:1]
    e = torch.stack(patches) @ table.T + bias + places[1:]
    z = prompt[0]
    for number in range(LAYERS):
        own = prompt[number] if len(prompt) > 1 else z
        out = block(weights, f"layers.{number}.", torch.cat([x, own, e]))
        x, z, e = out[:1], out[1 : 1 + len(own)], out[1 + len(own) :]
    return norm(weights, "layernorm", x)[0]


def block(weights: Weights, at: str, x: Tensor) -> Tensor:
    y = norm(weights, f"{at}layernorm_before", x)
    q, k, v = (linear(weights, f"{at}attention.{name}_proj", y) for name in "qkv")
    heads = [part.reshape(len(x), HEADS, -1).transpose(0, 1) for part in (q, k, v)]
    scores = heads[0] @ heads[1].transpose(1, 2) / math.sqrt(WIDTH // HEADS)
    mixed = (scores.softmax(-1) @ heads[2]).transpose(0, 1).reshape(len(x), -1)
    x = x + linear(weights, f"{at}attention.o_proj", mixed)
    y = norm(weights, f"{at}layernorm_after", x)
    hidden = functional.gelu(linear(weights, f"{at}mlp.fc1", y))
    return x + linear(weights, f"{at}mlp.fc2", hidden)


def linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-12).sqrt()
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


@pytest.mark.parametrize("deep", [False, True])
def test_states_and_gradients_are_those_of_the_formula(deep: bool) -> None:
    backbone = shared_vision("vit")
    weights = {name: p.detach().double() for name, p in backbone.model.named_parameters()}
    rows = SPEC.encode_rows(pictures(4), backbone.tokenizer, "prefix")
    shape = (LAYERS if deep else 1, 5, WIDTH)
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    ours = drawn.clone().requires_grad_()
    injection = LayerTokens(ours) if deep else InputTokens(ours[0])
    batch = collate([(row, ()) for row in rows], read="states", inside=0)
    (reads,) = backbone.read_many([(batch, injection)], keep="states")
    found = reads.states()
    theirs = drawn.double().requires_grad_()
    wanted = torch.stack([reference(weights, row.images[0], theirs) for row in rows])
    torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=1e-5)
    mix = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1))
    (found * mix).sum().backward()
    (wanted * mix.double()).sum().backward()
    assert ours.grad is not None and theirs.grad is not None
    torch.testing.assert_close(ours.grad.double(), theirs.grad, atol=1e-4, rtol=1e-4)


def test_the_init_is_the_papers() -> None:
    """U(-v, v) with v = sqrt(6 / (3 p^2 + d)), in every layer."""
    backbone = shared_vision("vit")
    bound = math.sqrt(6 / (3 * 8 * 8 + WIDTH))
    shallow = new_method(backbone, SPEC, PromptTuning(length=50, init="xavier"), 0).injection()
    deep = new_method(backbone, SPEC, DeepPrompts(length=50, init="xavier"), 0).injection()
    assert isinstance(shallow, InputTokens) and isinstance(deep, LayerTokens)
    assert deep.vectors.shape == (LAYERS, 50, WIDTH)
    for vectors in (shallow.vectors.detach(), *deep.vectors.detach()):
        assert float(vectors.abs().max()) <= bound
        assert float(vectors.std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)
        assert abs(float(vectors.mean())) < bound / 10
