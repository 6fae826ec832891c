"""The contract: every method on every tiny backbone. A new method joins by one line in METHODS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cuecard.artifacts import Prompt
from cuecard.methods import PromptTuning
from cuecard.tasks import collate
from cuecard.training import TrainConfig, train
from cuecard.training.loss import batch_loss
from cuecard.training.train import new_method
from cuecard.types import Backbone, Batch, Encoded, InputTokens, Method
from reviews import LONG_SPEC, SPEC, review_task, reviews
from tiny import CONFIGS, tiny_backbone

METHODS: dict[str, Callable[[], Any]] = {
    "prompt-tuning, prefix": lambda: PromptTuning(length=5, init="random"),
    "prompt-tuning, suffix": lambda: PromptTuning(length=5, init="labels", slot="suffix"),
    "prompt-tuning, long prefix": lambda: PromptTuning(length=40, init="vocabulary"),
}
pytestmark = [
    pytest.mark.parametrize("kind", CONFIGS),
    pytest.mark.parametrize("name", METHODS),
]


def rows_of(slot: str, spec: Any = SPEC) -> list[Encoded]:
    tokenizer = tiny_backbone().tokenizer
    return [spec.encode(record, tokenizer, slot) for record in reviews(6)]


def made(name: str, kind: str) -> tuple[Backbone, Any, Method]:
    backbone, config = tiny_backbone(kind), METHODS[name]()
    return backbone, config, new_method(backbone, SPEC, config, seed=1)


def next_logits(backbone: Backbone, rows: list[Encoded], method: Method) -> Tensor:
    with torch.no_grad():
        batch = collate([(row, ()) for row in rows], read="next")
        return backbone.forward(batch, method.injection())


def test_shapes(name: str, kind: str) -> None:
    backbone, config, method = made(name, kind)
    injection = method.injection()
    assert isinstance(injection, InputTokens)
    assert injection.vectors.shape == (config.length, backbone.hidden_size)
    assert injection.vectors.dtype == torch.float32
    logits = next_logits(backbone, rows_of(config.slot), method)
    assert logits.shape == (6, backbone.vocab_size) and logits.dtype == torch.float32


def test_only_the_injection_gets_gradients(name: str, kind: str) -> None:
    backbone, config, method = made(name, kind)
    loss, count = batch_loss(backbone, SPEC, rows_of(config.slot), method.injection(), "tokens")
    loss.backward()
    assert count == len(rows_of(config.slot))
    for parameter in method.parameters():
        assert parameter.grad is not None and bool((parameter.grad != 0).any())
    for parameter in backbone.model.parameters():  # type: ignore[attr-defined]
        assert parameter.grad is None and not parameter.requires_grad


def test_backbone_is_the_same_after_training(name: str, kind: str) -> None:
    backbone = tiny_backbone(kind)
    digest = backbone.digest()
    batch = collate([(row, ()) for row in rows_of("prefix")], read="next")
    with torch.no_grad():
        answers = backbone.forward(batch, None)
    train(backbone, review_task(40), METHODS[name](), TrainConfig(steps=3, batch_rows=4))
    with torch.no_grad():
        assert torch.equal(backbone.forward(batch, None), answers)
    assert backbone.digest() == digest


def test_padding_does_not_matter(name: str, kind: str) -> None:
    backbone, config, method = made(name, kind)
    rows = rows_of(config.slot)
    alone = torch.cat([next_logits(backbone, [row], method) for row in rows])
    batch = collate([(row, ()) for row in rows], read="next")
    with torch.no_grad():
        for side in ("left", "right"):
            padded = backbone.forward(pad(batch, side, 3), method.injection())
            torch.testing.assert_close(padded, alone, atol=1e-4, rtol=1e-4)


def test_batch_mates_do_not_matter(name: str, kind: str) -> None:
    backbone, config, method = made(name, kind)
    rows = rows_of(config.slot)
    together = next_logits(backbone, rows, method)
    for order in ([5, 0, 3], [2, 2], [4]):
        mixed = next_logits(backbone, [rows[i] for i in order], method)
        torch.testing.assert_close(mixed, together[order], atol=1e-4, rtol=1e-4)


def test_same_as_the_plain_formula(name: str, kind: str) -> None:
    """LM([E(before); P; E(after)]) row by row: no cache, no mask, no sharing."""
    backbone, config, method = made(name, kind)
    model: Any = backbone.model  # type: ignore[attr-defined]
    rows = rows_of(config.slot)
    ours = next_logits(backbone, rows, method)
    for row, logits in zip(rows, ours, strict=True):
        embeds = model.get_input_embeddings()(torch.tensor([row.context]))
        parts = [
            embeds[:, : row.slot],
            method.injection().vectors[None].detach(),
            embeds[:, row.slot :],
        ]
        with torch.no_grad():
            plain = model(inputs_embeds=torch.cat(parts, 1)).logits[0, -1]
        torch.testing.assert_close(logits, plain, atol=1e-4, rtol=1e-4)


def test_loss_of_long_targets_is_the_plain_one(name: str, kind: str) -> None:
    backbone, config, method = made(name, kind)
    model: Any = backbone.model  # type: ignore[attr-defined]
    rows = rows_of(config.slot, LONG_SPEC)
    with torch.no_grad():
        loss, count = batch_loss(backbone, LONG_SPEC, rows, method.injection(), "tokens")
        plain = torch.zeros(())
        for row in rows:
            embed = model.get_input_embeddings()
            context, target = torch.tensor([row.context]), torch.tensor([row.target])
            vectors = method.injection().vectors[None]
            before, after = context[:, : row.slot], context[:, row.slot :]
            parts = [embed(before), vectors, embed(after), embed(target)]
            logits = model(inputs_embeds=torch.cat(parts, 1)).logits[0].double()
            first = len(row.context) + vectors.shape[1]
            logs = logits[first - 1 : first - 1 + len(row.target)].log_softmax(-1)
            plain -= logs.gather(1, target.T).sum()
    assert count == sum(len(row.target) for row in rows) > len(rows)
    torch.testing.assert_close(loss.double(), plain.double(), atol=1e-4, rtol=1e-5)


def test_saved_is_loaded(name: str, kind: str, tmp_path: Path) -> None:
    backbone, config, _ = made(name, kind)
    run = train(backbone, review_task(40), config, TrainConfig(steps=2), folder=tmp_path)
    again = Prompt.load(tmp_path / "prompt", backbone)
    assert torch.equal(again.vectors, run.prompt.vectors)
    assert again.digest == run.prompt.digest
    assert again.manifest == run.prompt.manifest


def test_same_seed_same_prompt(name: str, kind: str) -> None:
    config = TrainConfig(steps=4, batch_rows=4, seed=3)
    runs = [train(tiny_backbone(kind), review_task(40), METHODS[name](), config) for _ in range(2)]
    assert runs[0].prompt.digest == runs[1].prompt.digest
    other = train(
        tiny_backbone(kind), review_task(40), METHODS[name](), config.model_copy(update={"seed": 4})
    )
    assert other.prompt.digest != runs[0].prompt.digest


def pad(batch: Batch, side: str, extra: int) -> Batch:
    """The same rows with all padding on one side, and more of it."""
    rows, width = batch.input_ids.shape
    ids = torch.full((rows, width + extra), 9)
    mask = torch.zeros_like(ids)
    for row in range(rows):
        real = batch.input_ids[row][batch.attention_mask[row].bool()]
        place = slice(width + extra - len(real), None) if side == "left" else slice(len(real))
        ids[row, place], mask[row, place] = real, 1
    return Batch(ids, mask, batch.slot, batch.read_rows, batch.read_at, batch.target_ids)
