"""CoOp against its formula, in float64 and without transformers, on a CLIP's bare weights.

Zhou et al., "Learning to Prompt for Vision-Language Models" (IJCV 2022), section 3.2:
p(y = k | x) = softmax_k(s cos(f(x), g([V]1 ... [V]n [name of k] .)))
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from cuecard.methods import CoOp
from cuecard.tasks.encoding.head_inputs import HeadRows, read_for_heads
from cuecard.training.trainables.initial_method import new_method
from cuecard.types import NamePlace, Record
from support.oracles.clip import Weights, image_vector, text_vector, weights_of
from support.tiny_clip import shared_clip
from support.tiny_vision import LABELS, SPEC, pictures

PLACES: tuple[NamePlace, ...] = ("end", "middle", "front")


def reference(weights: Weights, records: list[Record], vectors: Tensor, place: str) -> Tensor:
    """[B, K] logits under vectors [C, n, H]."""
    half = {"end": vectors.shape[1], "middle": vectors.shape[1] // 2, "front": 0}[place]
    texts = []
    for label, own in zip(LABELS, vectors.expand(len(LABELS), -1, -1), strict=True):
        parts = [own[None, :half], label, own[None, half:], "."]
        texts.append(text_vector(weights, parts))
    images = [image_vector(weights, record.images[0]) for record in records]
    return weights["logit_scale"].exp() * torch.stack(images) @ torch.stack(texts).T


@pytest.mark.parametrize("specific", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_logits_and_gradients_are_those_of_the_formula(place: NamePlace, specific: bool) -> None:
    backbone, records = shared_clip(), pictures(4)
    settings = CoOp(length=5, place=place, specific=specific)
    method: Any = new_method(backbone, SPEC, settings, 3)
    (vectors,) = method.parameters()
    assert vectors.shape == (2 if specific else 1, 1, 5, 24)
    rows = SPEC.encode_rows(records, backbone.tokenizer, "prefix")
    (states,) = read_for_heads(backbone, [HeadRows(rows, method.injection())])
    ours = method.head()(states)
    own = vectors.detach()[:, 0].double().requires_grad_()
    wanted = reference(weights_of(backbone), records, own, place)
    torch.testing.assert_close(ours.double(), wanted, atol=1e-4, rtol=1e-4)
    goals = torch.tensor([0, 1, 0, 1])
    functional.cross_entropy(ours, goals).backward()
    functional.cross_entropy(wanted, goals).backward()
    assert vectors.grad is not None and own.grad is not None
    torch.testing.assert_close(vectors.grad[:, 0].double(), own.grad, atol=1e-4, rtol=1e-3)


def test_a_start_from_words_is_the_zero_shot_classifier() -> None:
    backbone = shared_clip()
    method: Any = new_method(backbone, SPEC, CoOp(init="text"), 3)
    (vectors,) = method.parameters()
    assert vectors.shape[2] == 4
    plain = backbone.label_head(LABELS, "a photo of a {label}.")
    assert torch.equal(method.head().weight, plain.weight)
    weights = weights_of(backbone)
    told = torch.stack([text_vector(weights, [f"a photo of a {label}."]) for label in LABELS])
    wanted = weights["logit_scale"].exp() * told
    torch.testing.assert_close(plain.weight.double(), wanted, atol=1e-5, rtol=1e-5)
