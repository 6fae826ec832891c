"""Prompts on a backbone with a LoRA adapter: the contract holds there as on any other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cuecard.artifacts import Prompt
from cuecard.backbones import load_frozen
from cuecard.methods import PrefixTuning, PromptTuning
from cuecard.tasks import collate
from cuecard.training import TrainConfig
from cuecard.training.objective.loss import batch_loss
from cuecard.training.train import train
from cuecard.training.trainables.initial_method import new_method
from cuecard.types import Backbone, Batch, Method
from support.data.reviews import SPEC, review_task, reviews
from support.peft_adapters import TARGETS, save_adapter, save_kind
from support.tiny import SEQ2SEQ

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

METHODS: dict[str, Callable[[], Any]] = {
    "prompt-tuning": lambda: PromptTuning(length=5, init="vocabulary"),
    "prompt-tuning, suffix": lambda: PromptTuning(length=5, init="labels", slot="suffix"),
    "prefix-tuning": lambda: PrefixTuning(length=5, init="zero", hidden=8),
}
PAIRS = [
    (name, kind)
    for name in METHODS
    for kind in TARGETS
    if not (name == "prefix-tuning" and kind in SEQ2SEQ)
]
pairs = pytest.mark.parametrize(("name", "kind"), PAIRS)


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Backbone]:
    root = tmp_path_factory.mktemp("adapted")
    for kind in TARGETS:
        save_kind(root / kind, kind)
        save_adapter(root / f"{kind}-lora", kind)
    return lambda kind: load_frozen(root / kind, dtype="fp32", adapter=root / f"{kind}-lora")


def made(backbone: Backbone, name: str) -> tuple[Any, Method, Batch]:
    config = METHODS[name]()
    rows = [SPEC.encode(record, backbone.tokenizer, config.slot) for record in reviews(6)]
    batch = collate([(row, ()) for row in rows], read="next")
    return config, new_method(backbone, SPEC, config, seed=1), batch


@pairs
def test_only_the_injection_gets_gradients(
    name: str, kind: str, adapted: Callable[[str], Backbone]
) -> None:
    backbone = adapted(kind)
    config, method, _ = made(backbone, name)
    rows = [SPEC.encode(record, backbone.tokenizer, config.slot) for record in reviews(6)]
    loss, _ = batch_loss(backbone, SPEC, rows, method.injection(), "tokens")
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in method.parameters())
    assert not any(p.requires_grad or p.grad is not None for p in backbone.model.parameters())


@pairs
def test_batch_mates_do_not_matter(
    name: str, kind: str, adapted: Callable[[str], Backbone]
) -> None:
    backbone = adapted(kind)
    config, method, batch = made(backbone, name)
    rows = [SPEC.encode(record, backbone.tokenizer, config.slot) for record in reviews(6)]
    with torch.no_grad():
        together = backbone.forward(batch, method.injection())
        for row, expected in zip(rows, together, strict=True):
            alone = backbone.forward(collate([(row, ())], read="next"), method.injection())
            torch.testing.assert_close(alone[0], expected, atol=1e-4, rtol=1e-4)


@pairs
def test_trained_saved_and_loaded(
    name: str, kind: str, adapted: Callable[[str], Backbone], tmp_path: Path
) -> None:
    backbone, config = adapted(kind), METHODS[name]()
    digest = backbone.digest()
    first, second = (
        train(backbone, review_task(40), config, TrainConfig(steps=3, batch_rows=4)).prompt
        for _ in range(2)
    )
    assert first.digest == second.digest
    assert backbone.digest() == digest
    assert first.manifest.backbone.fingerprint.adapter == backbone.fingerprint.adapter != "none"
    again = Prompt.load(first.save(tmp_path / "prompt"), adapted(kind))
    _, _, batch = made(backbone, name)
    with torch.no_grad():
        expected = backbone.forward(batch, first.injection())
        assert torch.equal(adapted(kind).forward(batch, again.injection()), expected)
