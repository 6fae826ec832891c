"""LoRA and full tuning through the packed path: they learn, and the model is as it was."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch

from benchmarks.methods.weights import full, lora
from cuecard.tasks import collate
from cuecard.training.objective.loss import batch_loss
from cuecard.training.trainables.model_weights import ModelWeights
from cuecard.types import Backbone
from support.data.reviews import review_task
from support.tiny import tiny_backbone

Opened = AbstractContextManager[tuple[Backbone, ModelWeights]]
WAYS: dict[str, Callable[[Backbone], Opened]] = {
    "lora": lambda backbone: lora(backbone, 0),
    "full": lambda backbone: full(backbone),
}


@pytest.mark.parametrize("kind", ["llama", "opt", "t5-gated"])
@pytest.mark.parametrize("way", WAYS)
def test_it_learns_and_leaves_nothing_behind(kind: str, way: str) -> None:
    backbone, task = tiny_backbone(kind), review_task(60)
    rows = [task.spec.encode(record, backbone.tokenizer) for record in task.train[:8]]
    probe = collate([(rows[0], ())], read="next")
    digest, answer = backbone.digest(), backbone.forward(probe, None).detach()
    with WAYS[way](backbone) as (tuned, weights):
        optimizer = torch.optim.AdamW(weights.parameters(), lr=1e-2)
        losses = []
        for _ in range(12):
            optimizer.zero_grad(set_to_none=True)
            loss, _ = batch_loss(tuned, task.spec, rows, weights.injection(), "tokens")
            loss.backward()  # type: ignore[no-untyped-call]
            assert all(p.grad is not None for p in weights.parameters()), "not reached"
            optimizer.step()
            losses.append(float(loss.detach()))
        assert losses[-1] < 0.8 * losses[0]
        kept = {name: value.clone() for name, value in weights.state_dict().items()}
        changed: Any = tuned.forward(probe, weights.injection()).detach()
        weights.load_state_dict(kept)
        assert torch.equal(tuned.forward(probe, weights.injection()).detach(), changed)
        assert not torch.allclose(changed, answer)
    assert backbone.digest() == digest
    assert torch.equal(backbone.forward(probe, None), answer)
    assert not any(p.requires_grad for p in backbone.model.parameters())
