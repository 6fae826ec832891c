"""A tiny ViT from its formula, in float64 and without transformers, on the model's bare weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cuecard.images import pixels_of
from cuecard.tasks import collate
from cuecard.types import Image, Injection
from support.tiny_vision import SPEC, WIDTH, pictures, shared_vision

HEADS = 4
Weights = Mapping[str, Tensor]


def weights_of(backbone: Any) -> Weights:
    """Every parameter by its name."""
    return {name: p.detach().double() for name, p in backbone.model.named_parameters()}


def embedded(weights: Weights, image: Image) -> tuple[Tensor, Tensor]:
    """[1, H] the class token and [9, H] the patches that the first layer takes in."""
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
    return x, torch.stack(patches) @ table.T + bias + places[1:]


def projected(weights: Weights, at: str, x: Tensor) -> list[Tensor]:
    """[heads, T, D] queries, keys and values of a layer's input [T, H]."""
    y = norm(weights, f"{at}layernorm_before", x)
    parts = (linear(weights, f"{at}attention.{name}_proj", y) for name in "qkv")
    return [part.reshape(len(x), HEADS, -1).transpose(0, 1) for part in parts]


def block(weights: Weights, at: str, x: Tensor, prefix: Tensor | None = None) -> Tensor:
    """[T, H] a layer's output of its input [T, H], keys and values [2, heads, P, D] in front."""
    q, k, v = projected(weights, at, x)
    if prefix is not None:
        k, v = torch.cat([prefix[0], k], 1), torch.cat([prefix[1], v], 1)
    scores = q @ k.transpose(1, 2) / math.sqrt(WIDTH // HEADS)
    mixed = (scores.softmax(-1) @ v).transpose(0, 1).reshape(len(x), -1)
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


def check_formula(
    drawn: Tensor,
    injection: Callable[[Tensor], Injection],
    reference: Callable[[Weights, Image, Tensor], Tensor],
) -> None:
    """The tiny ViT's states under a prompt, and their gradients to it, are those of a formula.

    Args:
        drawn: the prompt's numbers.
        injection: makes an injection of them.
        reference: weights, image, numbers -> [H] the state that stands for the image.
    """
    backbone = shared_vision("vit")
    weights = weights_of(backbone)
    rows = SPEC.encode_rows(pictures(4), backbone.tokenizer, "prefix")
    ours, theirs = drawn.clone().requires_grad_(), drawn.double().requires_grad_()
    batch = collate([(row, ()) for row in rows], read="states", inside=0)
    (reads,) = backbone.read_many([(batch, injection(ours))], keep="states")
    found = reads.states()
    wanted = torch.stack([reference(weights, row.images[0], theirs) for row in rows])
    torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=1e-5)
    mix = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1))
    (found * mix).sum().backward()
    (wanted * mix.double()).sum().backward()
    assert ours.grad is not None and theirs.grad is not None
    torch.testing.assert_close(ours.grad.double(), theirs.grad, atol=1e-4, rtol=1e-4)
