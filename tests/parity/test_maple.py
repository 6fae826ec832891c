"""MaPLe against its formula, in float64 and without transformers, on a CLIP's bare weights.

Khattak et al., "MaPLe: Multi-modal Prompt Learning" (CVPR 2023), section 3.2:
[_, W_i] = L_i([P_{i-1}, W_{i-1}]), i = 1 .. J
[c_i, E_i, _] = V_i([c_{i-1}, E_{i-1}, F_{i-1}(P_{i-1})])
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from cuecard.methods import MaPLe
from cuecard.tasks.encoding.head_inputs import HeadRows, read_for_heads
from cuecard.training.trainables.initial_method import new_method
from support.oracles.clip import LAYERS, ids_of, image_vector, text_vector, weights_of
from support.tiny_clip import shared_clip
from support.tiny_vision import LABELS, SPEC, pictures


@pytest.mark.parametrize("depth", [1, 2, LAYERS])
def test_logits_and_gradients_are_those_of_the_formula(depth: int) -> None:
    backbone, records = shared_clip(), pictures(4)
    method: Any = new_method(backbone, SPEC, MaPLe(depth=depth), 3)
    module = method.inner
    weights = weights_of(backbone)
    words = weights["text_model.embeddings.token_embedding.weight"][ids_of("a photo")]
    torch.testing.assert_close(module.vectors[0].double(), words)
    rows = SPEC.encode_rows(records, backbone.tokenizer, "prefix")
    (states,) = read_for_heads(backbone, [HeadRows(rows, method.injection())])
    ours = method.head()(states)
    parts = {n: p.detach().double().requires_grad_() for n, p in module.named_parameters()}
    own, maps, shifts = parts["vectors"], parts["weight"], parts["bias"]
    assert own.shape[0] == depth
    seen = torch.stack([p @ f.T + b for p, f, b in zip(own, maps, shifts, strict=True)])
    texts = torch.stack([text_vector(weights, [own, label, "."]) for label in LABELS])
    images = torch.stack([image_vector(weights, record.images[0], seen) for record in records])
    wanted = weights["logit_scale"].exp() * images @ texts.T
    torch.testing.assert_close(ours.double(), wanted, atol=1e-4, rtol=1e-4)
    goals = torch.tensor([0, 1, 0, 1])
    functional.cross_entropy(ours, goals).backward()
    functional.cross_entropy(wanted, goals).backward()
    for name, parameter in module.named_parameters():
        found = parts[name].grad
        assert parameter.grad is not None and found is not None and bool(found.any())
        torch.testing.assert_close(parameter.grad.double(), found, atol=1e-4, rtol=1e-3)
