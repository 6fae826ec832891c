"""The loss and its gradient against the formula in float64."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from cuecard.backbones import CausalBackbone
from cuecard.evaluation.predict import predict
from cuecard.tasks import TaskSpec
from cuecard.training.objective.label_sample import NEGATIVES, Sample, sample_labels
from cuecard.training.objective.loss import PromptBatch, batch_loss, batch_losses, resolve_loss
from cuecard.types import InputTokens
from support.data.reviews import LONG_SPEC, SPEC, TEXT_SPEC, reviews
from support.tiny import CONFIGS, tiny_backbone, tiny_model, tiny_tokenizer


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


NESTED = SPEC.model_copy(update={"words": {"negative": "good", "positive": "good for one"}})


def scored(spec: TaskSpec, rows: Any, vectors: torch.Tensor) -> torch.Tensor:
    """[rows, labels] their scores by the definition, in float64."""
    model = tiny_model("llama").double()
    words = spec.continuations(tiny_tokenizer())
    start = words[0]

    def log_p(row: Any, ids: tuple[int, ...]) -> torch.Tensor:
        return -reference(model, [replace(row, target=ids)], vectors, None)

    found = []
    for row in rows:
        own, longer = log_p(row, start), log_p(row, words[1][: len(start) + 1])
        found.append(torch.stack([(own.exp() - longer.exp()).log(), log_p(row, words[1])]))
    return torch.stack(found)


@pytest.mark.parametrize("loss", ["tokens", "labels"])
def test_a_target_that_begins_another_label_is_trained_not_to_go_on(loss: Any) -> None:
    rows = [NESTED.encode(record, tiny_tokenizer()) for record in reviews(7)]
    start = torch.randn(5, 32, generator=torch.Generator().manual_seed(0)) * 0.3
    ours, exact = start.clone().requires_grad_(True), start.double().requires_grad_(True)
    value, targets = batch_loss(tiny_backbone(), NESTED, rows, InputTokens(ours), loss)
    value.backward()
    words = NESTED.continuations(tiny_tokenizer())
    gold = torch.tensor([words.index(row.target) for row in rows])
    scores = scored(NESTED, rows, exact)
    if loss == "labels":
        expected = torch.nn.functional.cross_entropy(scores, gold, reduction="sum")
        assert targets == len(rows)
    else:
        expected = -scores[torch.arange(len(rows)), gold].sum()
        assert targets == sum(len(row.target) for row in rows) + int((gold == 0).sum())
    expected.backward()
    assert ours.grad is not None and exact.grad is not None
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-5)
    assert float((ours.grad.double() - exact.grad).norm() / exact.grad.norm()) < 1e-4


def test_labels_of_several_tokens_are_compared_by_their_scores() -> None:
    records = reviews(7)
    backbone, given = tiny_backbone(), InputTokens(torch.randn(5, 32) * 0.3)
    rows = [LONG_SPEC.encode(record, backbone.tokenizer) for record in records]
    value, _ = batch_loss(backbone, LONG_SPEC, rows, given, "labels")
    found = predict(backbone, LONG_SPEC, records, given)
    expected = sum(
        -math.log(p.probabilities[str(r.target)]) for p, r in zip(found, records, strict=True)
    )
    assert float(value) == pytest.approx(expected, abs=1e-3)


def test_a_sample_of_all_other_labels_is_the_whole_softmax() -> None:
    sample = Sample(((1, 0), (0, 1)), total=2)
    backbone, given = tiny_backbone(), InputTokens(torch.randn(5, 32) * 0.3)
    rows = [LONG_SPEC.encode(record, backbone.tokenizer) for record in reviews(2)]
    words = LONG_SPEC.continuations(backbone.tokenizer)
    labels = tuple((words.index(row.target), 1 - words.index(row.target)) for row in rows)
    part = PromptBatch(LONG_SPEC, rows, given, "labels", sample=replace(sample, labels=labels))
    (drawn,) = batch_losses(backbone, [part])
    whole, _ = batch_loss(backbone, LONG_SPEC, rows, given, "labels")
    torch.testing.assert_close(drawn, whole)


def test_samples_begin_with_the_own_label_and_are_drawn_the_same_again() -> None:
    gold = [3, 39, 0]
    sample = sample_labels(gold, 40, (0, 1, 2))
    assert sample is not None and sample == sample_labels(gold, 40, (0, 1, 2))
    assert sample != sample_labels(gold, 40, (0, 1, 3))
    for own, labels in zip(gold, sample.labels, strict=True):
        assert labels[0] == own and len(set(labels)) == len(labels) == NEGATIVES + 1
        assert all(0 <= label < 40 for label in labels)
    weights = sample.weights(torch.zeros(2, NEGATIVES + 1))
    assert weights[0] == 0 and float(weights[1]) == pytest.approx(math.log(39 / NEGATIVES))
    assert sample_labels(gold, NEGATIVES + 1, (0,)) is None


def test_every_label_is_drawn_alike() -> None:
    counts = torch.zeros(30)
    for seed in range(400):
        sample = sample_labels([7], 30, (seed,))
        assert sample is not None
        counts[list(sample.labels[0][1:])] += 1
    assert counts[7] == 0
    others = counts[counts > 0] / 400
    assert len(others) == 29 and float((others - NEGATIVES / 29).abs().max()) < 0.12
