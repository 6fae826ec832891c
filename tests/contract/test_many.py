"""Many prompts in one pass: each gets what it gets alone, and nothing is run twice."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cuecard.backbones import CausalBackbone
from cuecard.tasks import TaskSpec, collate
from cuecard.types import Batch, Encoded, InputTokens, Slot
from support.data.reviews import LONG_SPEC, SPEC, reviews
from support.tiny import CONFIGS, tiny_backbone

# What a part is: its task, its rows, its prompt's length, its slot. Of no two alike.
PARTS: tuple[tuple[TaskSpec, slice, int, Slot], ...] = (
    (SPEC, slice(0, 5), 7, "prefix"),
    (LONG_SPEC, slice(5, 8), 3, "suffix"),
    (SPEC, slice(8, 9), 40, "prefix"),
    (SPEC, slice(2, 8), 0, "prefix"),
    (LONG_SPEC, slice(1, 6), 4, "suffix"),
)
# None of these hands attention over; see `CausalBackbone`.
PADDED = {"bloom-alibi"}


def encoded(backbone: CausalBackbone) -> list[list[Encoded]]:
    records = reviews(9)
    return [
        [spec.encode(record, backbone.tokenizer, slot) for record in records[which]]
        for spec, which, _, slot in PARTS
    ]


def parts_on(backbone: CausalBackbone) -> list[tuple[Batch, InputTokens | None]]:
    generator = torch.Generator().manual_seed(3)
    parts: list[tuple[Batch, InputTokens | None]] = []
    for rows, (_, _, length, _) in zip(encoded(backbone), PARTS, strict=True):
        vectors = torch.randn(length, backbone.hidden_size, generator=generator) * 0.3
        batch = collate([(row, row.target) for row in rows])
        parts.append((batch, InputTokens(vectors.requires_grad_()) if length else None))
    return parts


def gradients(parts: list[tuple[Batch, InputTokens | None]], logits: list[Tensor]) -> list[Tensor]:
    """Of a loss of its own per part, in one backward pass."""
    losses = [
        torch.nn.functional.cross_entropy(found, batch.target_ids, reduction="sum")
        for (batch, _), found in zip(parts, logits, strict=True)
    ]
    vectors = [injection.vectors for _, injection in parts if injection is not None]
    return list(torch.autograd.grad(torch.stack(losses).sum(), vectors))


def remembered(backbone: CausalBackbone) -> None:
    rows = [row for part in encoded(backbone) for row in part]
    backbone.remember([row.context[: row.slot] for row in rows])


@pytest.mark.parametrize("remember", [False, True])
@pytest.mark.parametrize("kind", CONFIGS)
def test_together_as_alone(kind: str, remember: bool) -> None:
    backbone = tiny_backbone(kind)
    if remember:
        remembered(backbone)
    parts = parts_on(backbone)
    together = backbone.forward_many(parts)
    alone = [backbone.forward(batch, injection) for batch, injection in parts]
    for ours, theirs in zip(together, alone, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)
    apart = [
        g
        for part, logits in zip(parts, alone, strict=True)
        if part[1] is not None
        for g in gradients([part], [logits])
    ]
    for ours, theirs in zip(gradients(parts, together), apart, strict=True):
        assert bool((ours - theirs).norm() <= 1e-5 * theirs.norm())


@pytest.mark.parametrize("remember", [False, True])
@pytest.mark.parametrize("kind", CONFIGS)
def test_nothing_is_run_twice(kind: str, remember: bool) -> None:
    backbone = tiny_backbone(kind)
    if remember:
        remembered(backbone)
    parts = parts_on(backbone)
    with torch.no_grad():
        backbone.forward_many(parts)  # keys and values that are kept are computed now
        backbone.reset_counts()
        backbone.forward_many(parts)
        together = dict(backbone.counts)
        backbone.reset_counts()
        for batch, injection in parts:
            backbone.forward(batch, injection)
    alone = dict(backbone.counts)
    if kind not in PADDED:
        assert (together.pop("calls"), alone.pop("calls")) == (1, len(PARTS))
    assert together == alone
    suffixed = [row for rows in encoded(backbone) for row in rows if row.slot]
    kept = sum(row.slot for row in suffixed) if remember and kind not in PADDED else 0
    assert together["remembered"] == kept


def test_long_parts_run_beside_packed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """The part with 40 vectors is too long to be packed; the order of the answers stays."""
    backbone = tiny_backbone()
    parts = parts_on(backbone)
    whole = backbone.forward_many(parts)
    monkeypatch.setattr("cuecard.backbones.causal._PACKED_LENGTH", 50)
    backbone.reset_counts()
    mixed = backbone.forward_many(parts)
    assert backbone.counts["calls"] == 2
    for ours, theirs in zip(mixed, whole, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)


def test_one_parts_infinity_stays_its_own() -> None:
    backbone = tiny_backbone()
    parts = parts_on(backbone)
    whole = backbone.forward_many(parts)
    spoilt = list(parts)
    spoilt[2] = (parts[2][0], InputTokens(torch.full((40, backbone.hidden_size), torch.nan)))
    found = backbone.forward_many(spoilt)
    assert not bool(torch.isfinite(found[2]).any())
    for number in (0, 1, 3, 4):
        assert torch.equal(found[number], whole[number])
