"""VPT against its formula, in float64 and without transformers, on a ViT's bare weights.

Jia et al., "Visual Prompt Tuning" (ECCV 2022), section 3.1:
deep     [x_i, _, E_i] = L_i([x_{i-1}, P_{i-1}, E_{i-1}]), i = 1 .. N
shallow  [x_1, Z_1, E_1] = L_1([x_0, P, E_0]), [x_i, Z_i, E_i] = L_i([x_{i-1}, Z_{i-1}, E_{i-1}])
y = Head(norm(x_N))
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cuecard.methods import DeepPrompts, PromptTuning
from cuecard.training.trainables.initial_method import new_method
from cuecard.types import Image, Injection, InputTokens, LayerTokens
from support.oracles.vit import Weights, block, check_formula, embedded, norm
from support.tiny_vision import LAYERS, SPEC, WIDTH, shared_vision


def reference(weights: Weights, image: Image, prompt: Tensor) -> Tensor:
    """[H] norm(x_N) of prompts [N, P, H] (deep) or [1, P, H] (shallow)."""
    x, e = embedded(weights, image)
    z = prompt[0]
    for number in range(LAYERS):
        own = prompt[number] if len(prompt) > 1 else z
        out = block(weights, f"layers.{number}.", torch.cat([x, own, e]))
        x, z, e = out[:1], out[1 : 1 + len(own)], out[1 + len(own) :]
    return norm(weights, "layernorm", x)[0]


@pytest.mark.parametrize("deep", [False, True])
def test_states_and_gradients_are_those_of_the_formula(deep: bool) -> None:
    shape = (LAYERS if deep else 1, 5, WIDTH)
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(0))

    def injection(vectors: Tensor) -> Injection:
        return LayerTokens(vectors) if deep else InputTokens(vectors[0])

    check_formula(drawn, injection, reference)


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
