"""Logits in pieces: the same losses and gradients, and never all of them at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cuecard.backbones import CausalBackbone, causal
from cuecard.evaluation.predict import predict
from cuecard.tasks import collate
from cuecard.training.objective.loss import batch_loss
from cuecard.types import Batch, InputTokens
from support.data.reviews import LONG_SPEC, reviews
from support.tiny import CONFIGS, tiny_backbone, tiny_tokenizer

PIECE = 3


def long_targets() -> Batch:
    rows = [LONG_SPEC.encode(record, tiny_tokenizer()) for record in reviews(6)]
    return collate([(row, row.target) for row in rows])


@pytest.fixture
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever there is, is too much."""
    monkeypatch.setattr(causal, "WHOLE_BYTES", 0)
    monkeypatch.setattr(causal, "PIECE_BYTES", PIECE * 4 * 384)


def losses(backbone: CausalBackbone, vectors: torch.Tensor, batch: Batch) -> torch.Tensor:
    (reads,) = backbone.read_many([(batch, InputTokens(vectors))])
    return reads.nll(batch.target_ids)


def widths(backbone: CausalBackbone) -> list[int]:
    """Gets the number of rows of every product with the LM head from now on."""
    seen: list[int] = []

    def look(module: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        seen.append(output.shape[:-1].numel())

    backbone.model.get_output_embeddings().register_forward_hook(look)
    return seen


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.usefixtures("in_pieces")
def test_same_losses_and_gradients(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = long_targets()
    start = torch.randn(9, 32, generator=torch.Generator().manual_seed(0)) * 0.3
    found = []
    for whole in (0, 2**40):
        monkeypatch.setattr(causal, "WHOLE_BYTES", whole)
        vectors = start.clone().requires_grad_(True)
        each = losses(tiny_backbone(kind), vectors, batch)
        each.sum().backward()
        assert vectors.grad is not None
        found.append((each.detach(), vectors.grad))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-5, atol=1e-6)
    assert float((found[0][1] - found[1][1]).norm() / found[1][1].norm()) < 1e-5


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.usefixtures("in_pieces")
def test_no_more_than_a_piece_at_a_time(kind: str) -> None:
    backbone, batch = tiny_backbone(kind), long_targets()
    losses(backbone, torch.randn(9, 32), batch)  # tries what is tried once
    seen = widths(backbone)
    backbone.reset_counts()
    losses(backbone, torch.randn(9, 32, requires_grad=True), batch).sum().backward()
    reads = len(batch.target_ids)
    assert reads > 2 * PIECE
    assert max(seen) == PIECE
    assert sum(seen) == 2 * reads  # again in the backward pass
    assert backbone.counts["logits"] == reads and backbone.counts["calls"] == 1


@pytest.mark.usefixtures("in_pieces")
def test_a_model_that_cannot_be_taken_apart_makes_them_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch, vectors = long_targets(), torch.randn(9, 32)
    expected = losses(tiny_backbone(), vectors, batch)
    backbone = tiny_backbone()
    decoder = torch.nn.Identity()  # not the one that the model runs
    monkeypatch.setattr(type(backbone.model), "get_decoder", lambda self: decoder)
    seen = widths(backbone)
    found = losses(backbone, vectors, batch)
    assert max(seen) == len(batch.target_ids)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("in_pieces")
def test_scores_of_long_words_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    records = reviews(4)
    backbone = tiny_backbone()
    pieces = predict(backbone, LONG_SPEC, records)
    monkeypatch.setattr(causal, "WHOLE_BYTES", 2**40)
    whole = predict(backbone, LONG_SPEC, records)
    for one, other in zip(pieces, whole, strict=True):
        assert one.answer == other.answer
        assert one.scores == pytest.approx(other.scores, abs=1e-5)


def test_few_reads_are_read_at_once() -> None:
    backbone = tiny_backbone()
    rows = [LONG_SPEC.encode(record, tiny_tokenizer()) for record in reviews(6)]
    losses(backbone, torch.randn(9, 32), long_targets())
    seen = widths(backbone)
    loss, count = batch_loss(backbone, LONG_SPEC, rows, InputTokens(torch.randn(9, 32)), "tokens")
    assert seen == [count]
    assert loss.ndim == 0
