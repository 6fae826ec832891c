"""CoCoOp against its formula, in float64 and without transformers, on a CLIP's bare weights.

Zhou et al., "Conditional Prompt Learning for Vision-Language Models" (CVPR 2022), section 3.2:
p(y = k | x) = softmax_k(s cos(v, g([V1 + h(v)] ... [Vn + h(v)] [name of k] .))), v = f(x) / |f(x)|,
h(v) = W2 relu(W1 v + b1) + b2
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from cuecard.backbones.forward import label_tower
from cuecard.methods import CoCoOp
from cuecard.tasks.encoding.head_inputs import HeadRows, read_for_heads
from cuecard.training.trainables.initial_method import new_method
from support.oracles.clip import ids_of, image_vector, text_vector, weights_of
from support.tiny_clip import JOINT, shared_clip
from support.tiny_vision import LABELS, SPEC, pictures


@pytest.mark.parametrize("places", [4096, 20], ids=["one run", "several runs"])
def test_logits_and_gradients_are_those_of_the_formula(
    places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_tower, "_PLACES", places)
    backbone, records = shared_clip(), pictures(4)
    method: Any = new_method(backbone, SPEC, CoCoOp(reduction=4), 3)
    module = method.inner
    weights = weights_of(backbone)
    words = weights["text_model.embeddings.token_embedding.weight"][ids_of("a photo of a")]
    torch.testing.assert_close(module.vectors.double(), words)
    assert module.down.shape == (JOINT // 4, JOINT)
    for drawn, inputs in ((module.down, JOINT), (module.up, JOINT // 4)):
        largest = float(drawn.detach().abs().max())
        assert largest <= inputs**-0.5 < 1.3 * largest
    rows = SPEC.encode_rows(records, backbone.tokenizer, "prefix")
    (states,) = read_for_heads(backbone, [HeadRows(rows, method.injection())])
    ours = method.head()(states)
    parts = {n: p.detach().double().requires_grad_() for n, p in module.named_parameters()}
    logits = []
    for record in records:
        image = image_vector(weights, record.images[0])
        middle = torch.clamp(parts["down"] @ image + parts["down_bias"], min=0)
        moved = parts["vectors"] + parts["up"] @ middle + parts["up_bias"]
        texts = torch.stack([text_vector(weights, [moved[None], label, "."]) for label in LABELS])
        logits.append(weights["logit_scale"].exp() * texts @ image)
    wanted = torch.stack(logits)
    torch.testing.assert_close(ours.double(), wanted, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(wanted[0] - wanted[0, 0], wanted[1] - wanted[1, 0], atol=1e-2)
    goals = torch.tensor([0, 1, 0, 1])
    functional.cross_entropy(ours, goals).backward()
    functional.cross_entropy(wanted, goals).backward()
    for name, parameter in module.named_parameters():
        found = parts[name].grad
        assert parameter.grad is not None and found is not None and bool(found.any())
        torch.testing.assert_close(parameter.grad.double(), found, atol=1e-4, rtol=1e-3)


def test_every_label_is_read_for_every_image_and_an_image_seen_once() -> None:
    backbone, records = shared_clip(), pictures(3, seed=77)
    method: Any = new_method(backbone, SPEC, CoCoOp(), 3)
    rows = SPEC.encode_rows(records, backbone.tokenizer, "prefix")
    texts = len(records) * len(LABELS) * (4 + 4)  # four vectors, a name, a full stop, two ends
    for seen in (len(records), 0):
        backbone.reset_counts()
        with torch.no_grad():
            read_for_heads(backbone, [HeadRows(rows, method.injection())])
        assert backbone.counts["tokens"] == texts + seen * backbone.tower.positions
