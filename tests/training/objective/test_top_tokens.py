"""A teacher's likeliest tokens, and the distance to them."""

from __future__ import annotations

import torch
from torch.nn import functional

from cuecard.tasks import TaskSpec, collate
from cuecard.training.objective.loss import PromptBatch, batch_losses
from cuecard.training.objective.top_tokens import divergence, top_tokens
from cuecard.types import InputTokens, Record
from support.tiny import shared_backbone

SPEC = TaskSpec(kind="text-to-text", template="{text}\nAnswer:")
BACKBONE = shared_backbone()
ROWS = [
    SPEC.encode(Record({"text": text}, target), BACKBONE.tokenizer)
    for text, target in (("a film", "good and true"), ("the dog", "bad"))
]
STUDENT = InputTokens(BACKBONE.embeddings[:3].clone().requires_grad_())


def logits(injection: InputTokens | None) -> torch.Tensor:
    found: torch.Tensor = BACKBONE.forward(collate([(r, r.target) for r in ROWS]), injection)
    return found


def test_all_tokens_give_the_whole_divergence() -> None:
    taught = dict(zip(ROWS, top_tokens(BACKBONE, ROWS, None, 384), strict=True))
    reads = BACKBONE.read(collate([(row, row.target) for row in ROWS]), STUDENT)
    found = divergence(ROWS, taught, reads)
    pair = logits(STUDENT).log_softmax(-1), logits(None).log_softmax(-1)
    wanted = functional.kl_div(*pair, reduction="none", log_target=True).sum(-1)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)


def test_a_few_tokens_and_all_others_as_one_give_a_part_of_it() -> None:
    whole = [logits(injection).softmax(-1).detach() for injection in (None, STUDENT)]
    for count in (1, 5):
        taught = dict(zip(ROWS, top_tokens(BACKBONE, ROWS, None, count), strict=True))
        reads = BACKBONE.read(collate([(row, row.target) for row in ROWS]), STUDENT)
        best = whole[0].topk(count).indices
        kept = [each.gather(1, best) for each in whole]
        teacher, student = (torch.cat([k, 1 - k.sum(-1, keepdim=True)], 1) for k in kept)
        wanted = (teacher * (teacher / student).log()).sum(-1)
        torch.testing.assert_close(divergence(ROWS, taught, reads), wanted, rtol=1e-3, atol=1e-4)
        own = BACKBONE.read(collate([(row, row.target) for row in ROWS]), None)
        assert float(divergence(ROWS, taught, own).abs().max()) < 1e-5


def test_a_batch_learns_them_instead_of_its_targets() -> None:
    taught = dict(zip(ROWS, top_tokens(BACKBONE, ROWS, None, 5), strict=True))
    (loss,) = batch_losses(BACKBONE, [PromptBatch(SPEC, ROWS, STUDENT, "tokens", taught=taught)])
    reads = BACKBONE.read(collate([(row, row.target) for row in ROWS]), STUDENT)
    torch.testing.assert_close(loss, divergence(ROWS, taught, reads).sum())
    (gradient,) = torch.autograd.grad(loss, STUDENT.vectors)
    assert float(gradient.abs().max()) > 0
