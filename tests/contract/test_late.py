"""Keys and values that are seen from the middle of a row on: cached inputs, long rows, one run."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cuecard.artifacts import Prompt
from cuecard.errors import BackboneError, ConfigError
from cuecard.methods import PTuningV2
from cuecard.tasks import TaskSpec, collate
from cuecard.training import TrainConfig, read_log
from cuecard.training.objective.loss import batch_loss
from cuecard.training.train import train
from cuecard.types import Backbone, Encoded, Injection, PrefixKV
from support.data.reviews import LONG_SPEC, SPEC, review_task, reviews
from support.tiny import tiny_backbone

KINDS = ("llama", "gpt2", "qwen3", "opt")
PAIR = SPEC.model_copy(update={"template": "Review: {text}\nSentiment:"})
METHOD = PTuningV2(length=4, init="random", slot="infix")


def prefix_of(backbone: Backbone, seed: int = 0) -> PrefixKV:
    generator = torch.Generator().manual_seed(seed)
    heads, size = backbone.key_shape  # type: ignore[attr-defined]
    return PrefixKV(torch.randn(2, 2, heads, 5, size, generator=generator), late=True)


def rows_of(backbone: Backbone, spec: TaskSpec = PAIR) -> list[Encoded]:
    return [spec.encode(record, backbone.tokenizer, "infix") for record in reviews(6)]


def forward(backbone: Backbone, rows: list[Encoded], given: Injection) -> Tensor:
    with torch.no_grad():
        return backbone.forward(collate([(row, ()) for row in rows], read="next"), given)


def test_the_place_is_after_the_last_field_where_the_template_does_not_say() -> None:
    backbone = tiny_backbone()
    said = SPEC.model_copy(update={"template": "Review: {text}{prompt}\nSentiment:"})
    assert rows_of(backbone) == rows_of(backbone, said)
    after = len(backbone.tokenizer("\nSentiment:")["input_ids"])
    assert {len(row.context) - row.slot for row in rows_of(backbone)} == {after}


@pytest.mark.parametrize("kind", KINDS)
def test_long_rows_and_cached_inputs_give_the_same(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packed, padded, behind cached inputs: logits and gradients."""
    backbone, given = tiny_backbone(kind), prefix_of(tiny_backbone(kind))
    rows = rows_of(backbone, LONG_SPEC)
    found = []
    for way in ("packed", "padded", "cached"):
        if way == "padded":
            monkeypatch.setattr("cuecard.backbones.causal._PACKED_LENGTH", 0)
        else:
            monkeypatch.undo()
        if way == "cached":
            assert backbone.remember([row.context[: row.slot] for row in rows]) is not None
        values = given.keys_values.clone().requires_grad_()
        loss, _ = batch_loss(backbone, LONG_SPEC, rows, PrefixKV(values, late=True), "tokens")
        (grad,) = torch.autograd.grad(loss, values)
        found.append((forward(backbone, rows, given), loss.detach(), grad))
    backbone.reset_counts()
    forward(backbone, rows, given)
    assert backbone.counts["tokens"] == sum(len(row.context) - row.slot for row in rows)
    for other in found[1:]:
        for ours, theirs in zip(other, found[0], strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_what_comes_before_is_as_without_a_prompt() -> None:
    """A read before the slot does not see the prompt, one after it does."""
    backbone, (row, *_) = tiny_backbone(), rows_of(tiny_backbone())
    batch = collate([(row, ())], read="next")
    for at, same in ((row.slot, True), (row.slot + 1, False)):
        batch.read_at[0] = at
        with torch.no_grad():
            bare, late = (backbone.forward(batch, g) for g in (None, prefix_of(backbone)))
        assert torch.allclose(bare, late, atol=1e-5) is same


def test_a_run_computes_its_inputs_once(tmp_path: Path) -> None:
    """Steps run the tokens after the place alone; the prompt folder answers as the run did."""
    backbone, task = tiny_backbone(), review_task(40, PAIR)
    config = TrainConfig(steps=6, batch_rows=4, eval_every=6)
    run = train(backbone, task, METHOD, config, folder=tmp_path)
    (inputs,) = [event for event in read_log(tmp_path) if event["event"] == "inputs"]
    assert inputs["tokens"] > 0
    saved = Prompt.load(tmp_path / "prompt", backbone)
    assert saved.manifest.injection == "late-prefix-kv" and saved.manifest.slot == "infix"
    assert saved.injection().late  # type: ignore[union-attr]
    again = saved.bind(tiny_backbone()).evaluate(task.test)
    assert run.test is not None and math.isclose(again.score, run.test.score)
    assert saved.adapter_config() is None  # PEFT has no such form


@pytest.mark.parametrize("kind", ["mistral-sliding", "bloom-alibi", "t5-gated", "roberta"])
def test_other_models_refuse_it_before_any_work(kind: str) -> None:
    template = "Review: {text}\nSentiment:" + (" {mask}." if kind == "roberta" else "")
    task = review_task(40, SPEC.model_copy(update={"template": template}))
    with pytest.raises(ConfigError, match="cannot be used with this method"):
        train(tiny_backbone(kind), task, METHOD, TrainConfig(steps=1))


def test_a_prompt_of_another_model_is_refused_where_it_is_used() -> None:
    sliding = tiny_backbone("mistral-sliding")
    with pytest.raises(BackboneError, match="late keys and values"):
        forward(sliding, rows_of(sliding), prefix_of(sliding))


@pytest.mark.parametrize("template", ["Review: {text}", "{prompt}A {text}{prompt} B"])
def test_a_template_without_words_after_the_place_is_refused(template: str) -> None:
    task = review_task(40, SPEC.model_copy(update={"template": template}))
    with pytest.raises(ConfigError, match="one place, and words of the template after it"):
        train(tiny_backbone(), task, METHOD, TrainConfig(steps=1))
