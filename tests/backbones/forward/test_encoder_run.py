"""Rows under different prompts in one pass of an encoder: each gets what it gets alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from cuecard.tasks import collate
from cuecard.types import Batch, Encoded, Injection, InputTokens, LayerTokens, Placement, PrefixKV
from support.tiny import MASKED, tiny_backbone

every = pytest.mark.parametrize("kind", MASKED)
Seq2SeqInjected = list[tuple[Batch, Injection | None]]


def drawn(seed: int, *shape: int) -> Tensor:
    found = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.5
    return found.requires_grad_()


def batch_of(seed: int, slot: int, lengths: tuple[int, ...]) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    rows = [
        tuple(torch.randint(4, 384, (length,), generator=generator).tolist()) for length in lengths
    ]
    encoded = [
        Encoded(ids, (), Placement.at(slot if slot >= 0 else len(ids)), mask=2) for ids in rows
    ]
    return collate([(row, (7, 8)) for row in encoded])


def parts_on(backbone: Any) -> Seq2SeqInjected:
    """Of no two alike: prompts of every kind that it takes, and rows of every length."""
    heads = backbone.key_shape if backbone.unsupported("prefix-kv") is None else None
    parts: Seq2SeqInjected = [
        (batch_of(0, 1, (5, 9, 3)), InputTokens(drawn(0, 6, 32))),
        (batch_of(1, 1, (12, 4)), None),
        (batch_of(2, -1, (4, 20, 6)), InputTokens(drawn(2, 2, 32))),
        (batch_of(3, 1, (7, 8)), InputTokens(drawn(3, 3, 32), drawn(4, 5, 32))),
        (batch_of(0, 1, (5, 9, 3)), InputTokens(drawn(5, 0, 32), drawn(6, 4, 32))),
    ]
    if backbone.unsupported("layer-tokens") is None:
        parts.append((batch_of(6, 2, (6, 3)), LayerTokens(drawn(7, 2, 5, 32))))
        parts.append((batch_of(7, 1, (5,)), LayerTokens(drawn(8, 2, 1, 32))))
    if heads is not None:
        parts.append((batch_of(8, 0, (9, 4)), PrefixKV(drawn(9, 2, 2, heads[0], 3, heads[1]))))
        parts.append((batch_of(0, 0, (5, 9)), PrefixKV(drawn(10, 2, 2, heads[0], 11, heads[1]))))
    return parts


def tensors(parts: Seq2SeqInjected) -> list[Tensor]:
    found = []
    for _, injection in parts:
        for name in getattr(injection, "__slots__", ()):
            tensor = getattr(injection, name)
            if isinstance(tensor, Tensor) and tensor.numel():
                found.append(tensor)
    return found


def loss(parts: Seq2SeqInjected, logits: list[Tensor]) -> Tensor:
    losses = [
        torch.nn.functional.cross_entropy(found, batch.target_ids, reduction="sum")
        for (batch, _), found in zip(parts, logits, strict=True)
    ]
    return torch.stack(losses).sum()


@every
def test_together_as_alone(kind: str) -> None:
    backbone = tiny_backbone(kind)
    parts = parts_on(backbone)
    backbone.reset_counts()
    together = backbone.forward_many(parts)
    assert backbone.counts["calls"] == 1
    alone = [backbone.forward(*part) for part in parts]
    for ours, theirs in zip(together, alone, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)
    given = tensors(parts)
    assert len(given) >= 5
    ours, theirs = (torch.autograd.grad(loss(parts, logits), given) for logits in (together, alone))
    for mine, other in zip(ours, theirs, strict=True):
        assert bool((mine - other).norm() <= 1e-4 * other.norm()) and bool(other.norm() > 0)


@every
def test_a_prompts_neighbours_do_not_matter(kind: str) -> None:
    """The same part twice, beside others and in another order."""
    backbone = tiny_backbone(kind)
    parts = parts_on(backbone)
    with torch.no_grad():
        first = backbone.read_many(parts)
        second = backbone.read_many(parts[::-1])
    for one, other in zip(first, reversed(list(second)), strict=True):
        torch.testing.assert_close(one.states(), other.states(), atol=1e-5, rtol=1e-4)


def test_equal_rows_run_once_under_each_prompt() -> None:
    backbone = tiny_backbone("bert")
    row = Encoded((1, 20, 21), (), Placement.at(1))
    batch = collate([(row, ())] * 3, read="next")
    backbone.reset_counts()
    one, other = backbone.read_many(
        [(batch, InputTokens(drawn(0, 2, 32))), (batch, InputTokens(drawn(1, 4, 32)))]
    )
    assert backbone.counts["tokens"] == 2 * (3 + 4 + 1)
    assert len(one.states()) == len(other.states()) == 3
    assert backbone.read_many([]) == []
