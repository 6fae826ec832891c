"""A tiny CLIP from its formula, in float64 without transformers, on the model's bare weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cuecard.images import pixels_of
from cuecard.types import Image
from support.tiny_clip import word_tokenizer

HEADS, LAYERS = 4, 3
Weights = Mapping[str, Tensor]


def weights_of(backbone: Any) -> Weights:
    """Every parameter by its name, of both towers."""
    return {name: p.detach().double() for name, p in backbone.whole.named_parameters()}


def ids_of(text: str) -> list[int]:
    """A text's words, without what stands around a whole text."""
    return [int(i) for i in word_tokenizer()(text, add_special_tokens=False)["input_ids"]]


def text_vector(weights: Weights, parts: Sequence[Tensor | str]) -> Tensor:
    """[D] the unit vector of a text made of words and of vectors.

    Args:
        parts: words, or vectors [L', n, H]: those of the first layer stand among the embeddings,
            those of later layers replace what comes out of the layer before at their places.
    """
    table = weights["text_model.embeddings.token_embedding.weight"]
    opening, closing = 2, len(table) - 1
    rows, deep = [table[opening : opening + 1]], []
    for part in parts:
        if isinstance(part, str):
            rows.append(table[ids_of(part)])
        else:
            deep.append((sum(map(len, rows)), part))
            rows.append(part[0])
    rows.append(table[closing : closing + 1])
    x = torch.cat(rows)
    x = x + weights["text_model.embeddings.position_embedding.weight"][: len(x)]
    for number in range(LAYERS):
        for at, vectors in deep:
            if 0 < number < len(vectors):
                x = torch.cat([x[:at], vectors[number], x[at + vectors.shape[1] :]])
        x = block(weights, f"text_model.encoder.layers.{number}.", x, causal=True)
    state = norm(weights, "text_model.final_layer_norm", x)[-1]
    return unit(weights["text_projection.weight"] @ state)


def image_vector(weights: Weights, image: Image, prompt: Tensor | None = None) -> Tensor:
    """[D] the unit vector of an image.

    Args:
        prompt: [L', P, H] after the class token; new ones in the first L' layers.
    """
    values = torch.tensor(np.asarray(pixels_of(image)), dtype=torch.float64) / 255 * 2 - 1
    cut = [values[i : i + 8, j : j + 8].permute(2, 0, 1) for i in (0, 8, 16) for j in (0, 8, 16)]
    at = "vision_model.embeddings."
    patches = torch.stack([part.flatten() for part in cut])
    patches = patches @ weights[f"{at}patch_embedding.weight"].flatten(1).T
    x = torch.cat([weights[f"{at}class_embedding"][None], patches])
    x = norm(weights, "vision_model.pre_layrnorm", x + weights[f"{at}position_embedding.weight"])
    for number in range(LAYERS):
        if prompt is not None and number == 0:
            x = torch.cat([x[:1], prompt[0], x[1:]])
        elif prompt is not None and number < len(prompt):
            x = torch.cat([x[:1], prompt[number], x[1 + prompt.shape[1] :]])
        x = block(weights, f"vision_model.encoder.layers.{number}.", x)
    state = norm(weights, "vision_model.post_layernorm", x)[0]
    return unit(weights["visual_projection.weight"] @ state)


def block(weights: Weights, at: str, x: Tensor, *, causal: bool = False) -> Tensor:
    """[T, H] a layer's output of its input [T, H]."""
    y = norm(weights, f"{at}layer_norm1", x)
    q, k, v = (
        linear(weights, f"{at}self_attn.{name}_proj", y).reshape(len(x), HEADS, -1).transpose(0, 1)
        for name in "qkv"
    )
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
    if causal:
        ahead = torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
        scores = scores.masked_fill(ahead, -math.inf)
    mixed = (scores.softmax(-1) @ v).transpose(0, 1).reshape(len(x), -1)
    x = x + linear(weights, f"{at}self_attn.out_proj", mixed)
    y = linear(weights, f"{at}mlp.fc1", norm(weights, f"{at}layer_norm2", x))
    return x + linear(weights, f"{at}mlp.fc2", y * torch.sigmoid(1.702 * y))


def norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    """A layer norm."""
    return functional.layer_norm(
        x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-5
    )


def linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    """A linear layer."""
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def unit(x: Tensor) -> Tensor:
    """A vector of length 1."""
    return x / x.norm()
