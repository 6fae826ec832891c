"""The loss and its gradient against the formula in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cuecard.backbones import CausalBackbone
from cuecard.tasks import TaskSpec
from cuecard.training.loss import batch_loss, resolve_loss
from cuecard.types import InputTokens
from reviews import LONG_SPEC, SPEC, TEXT_SPEC, reviews
from tiny import CONFIGS, tiny_backbone, tiny_model, tiny_tokenizer


def reference(model: Any, rows: Any, vectors: torch.Tensor, words: list[int] | None) -> Any:
    """Sum of -log p(target | prompt, context), one row at a time, in float64."""
    embed = model.get_input_embeddings()
    total = torch.zeros((), dtype=torch.float64)
    for row in rows:
        context, target = torch.tensor([row.context]), torch.tensor([row.target])
        parts = [
            embed(context[:, : row.slot]),
            vectors[None],
            embed(context[:, row.slot :]),
            embed(target),
        ]
        logits = model(inputs_embeds=torch.cat(parts, 1)).logits[0]
        first = len(row.context) + len(vectors) - 1
        at = logits[first : first + len(row.target)]
        if words is not None:
            at = at[:, words]
            target = torch.tensor([[words.index(int(i)) for i in row.target]])
        total = total - at.log_softmax(-1).gather(1, target.T).sum()
    return total


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("slot", ["prefix", "suffix"])
@pytest.mark.parametrize(
    ("spec", "loss"), [(SPEC, "labels"), (SPEC, "tokens"), (LONG_SPEC, "tokens")]
)
def test_loss_and_gradient_in_float64(kind: str, slot: Any, spec: TaskSpec, loss: Any) -> None:
    records = reviews(7)
    tokenizer = tiny_tokenizer()
    rows = [spec.encode(record, tokenizer, slot) for record in records]
    start = torch.randn(30, 32, generator=torch.Generator().manual_seed(0)) * 0.3
    ours = start.clone().requires_grad_(True)
    value, _ = batch_loss(tiny_backbone(kind), spec, rows, InputTokens(ours), loss)
    value.backward()
    exact = start.double().requires_grad_(True)
    words = [ids[0] for ids in spec.continuations(tokenizer)] if loss == "labels" else None
    expected = reference(tiny_model(kind).double(), rows, exact, words)
    expected.backward()
    assert ours.grad is not None and exact.grad is not None
    torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-6)
    error = (ours.grad.double() - exact.grad).norm() / exact.grad.norm()
    assert float(error) < 1e-5


def test_auto_takes_labels_where_words_are_one_token() -> None:
    backbone = tiny_backbone()
    assert resolve_loss("auto", SPEC, backbone) == "labels"
    assert resolve_loss("auto", LONG_SPEC, backbone) == "tokens"
    assert resolve_loss("auto", TEXT_SPEC, backbone) == "tokens"
    assert resolve_loss("tokens", SPEC, backbone) == "tokens"


def test_bfloat16_is_near() -> None:
    backbone = CausalBackbone(tiny_model().to(torch.bfloat16), tiny_tokenizer(), "tiny")
    rows = [SPEC.encode(record, tiny_tokenizer()) for record in reviews(7)]
    vectors = InputTokens(torch.randn(30, 32) * 0.3)
    half, _ = batch_loss(backbone, SPEC, rows, vectors, "tokens")
    full, _ = batch_loss(tiny_backbone(), SPEC, rows, vectors, "tokens")
    torch.testing.assert_close(half, full, rtol=0.05, atol=0.5)
