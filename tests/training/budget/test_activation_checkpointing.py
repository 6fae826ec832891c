from __future__ import annotations

from typing import Any

import pytest
import torch

from cuecard.errors import ConfigError
from cuecard.methods import PromptTuning
from cuecard.runs.dry_run import dry_run
from cuecard.runs.recipe import Recipe
from cuecard.training import TrainConfig
from cuecard.training.budget import activation_checkpointing as module
from cuecard.training.budget.activation_checkpointing import (
    free_bytes,
    largest_batch,
    plan_activations,
)
from cuecard.training.train import train
from support.data.reviews import review_task, reviews
from support.tiny import tiny_backbone, tiny_model, tiny_tokenizer


def test_auto_recomputes_what_would_take_half_of_what_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backbone = tiny_backbone()
    kept = plan_activations("keep", backbone, 100).nbytes
    assert kept == 100 * 32 * 4 * 2 * 20
    for free, how in ((2 * kept, "keep"), (2 * kept - 1, "recompute")):
        monkeypatch.setattr(module, "free_bytes", lambda _, free=free: free)
        assert plan_activations("auto", backbone, 100).how == how
    again = plan_activations("recompute", backbone, 100)
    assert again.kept_nbytes == kept and again.nbytes == 100 * 32 * 4 * 22


def test_a_backbone_that_cannot_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain:
        hidden_size, num_layers, dtype, device = 8, 2, torch.float32, torch.device("cpu")

    plain: Any = Plain()
    monkeypatch.setattr(module, "free_bytes", lambda _: 0)
    assert plan_activations("auto", plain, 10).how == "keep"
    with pytest.raises(ConfigError, match="does not support activation checkpointing"):
        plan_activations("recompute", plain, 10)
    with module.recomputing(plain, False):
        assert not hasattr(plain, "recompute")


def test_the_largest_batch_counts_padding_and_the_prompt_once() -> None:
    config = TrainConfig(batch_rows=2)
    assert largest_batch([5, 5, 9, 9], 7, config) == 2 * 9 + 7
    assert free_bytes(torch.device("cpu")) > 0


@pytest.mark.parametrize("slot", ["prefix", "suffix"])
def test_the_prompt_is_the_same_to_the_last_bit(slot: Any) -> None:
    found, events = [], []
    backbone = tiny_backbone()
    for how in ("keep", "recompute"):
        config = TrainConfig(steps=4, batch_rows=4, activations=how, inputs="recompute")
        method = PromptTuning(length=5, init="random", slot=slot)
        found.append(train(backbone, review_task(40), method, config, observer=events.append))
        assert not backbone.recompute
    assert torch.equal(found[0].prompt.vectors, found[1].prompt.vectors)
    assert found[0].prompt.digest == found[1].prompt.digest
    told = [event for event in events if event["event"] == "activations"]
    assert [event["how"] for event in told] == ["recompute"]
    assert told[0]["nbytes"] < told[0]["kept_nbytes"]


def test_a_run_goes_on_whatever_is_done_with_activations(tmp_path: Any) -> None:
    config = TrainConfig(steps=4, batch_rows=4)
    first = train(tiny_backbone(), review_task(40), None, config, folder=tmp_path)
    other = config.model_copy(update={"activations": "recompute"})
    steps: list[int] = []
    again = train(
        tiny_backbone(),
        review_task(40),
        None,
        other,
        folder=tmp_path,
        observer=lambda e: steps.append(e["step"]) if e["event"] == "step" else None,
    )
    assert steps == [] and again.prompt.digest == first.prompt.digest


def test_a_dry_run_says_which(tmp_path: Any) -> None:
    tiny_model().save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    lines = [f'"{r.fields["text"]} {i}",{r.target}' for i, r in enumerate(reviews(60))]
    (tmp_path / "reviews.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    values: dict[str, Any] = {
        "data": {"path": str(tmp_path / "reviews.csv")},
        "backbone": str(tmp_path / "model"),
    }
    plans = [
        dry_run(Recipe.parse({**values, "training": {"activations": how}}))
        for how in ("keep", "recompute")
    ]
    assert [plan.activations for plan in plans] == ["keep", "recompute"]
    assert plans[1].activation_bytes < plans[0].activation_bytes
    small = dry_run(Recipe.parse({**values, "quantize": "int4", "dtype": "fp32"}))
    plain = dry_run(Recipe.parse({**values, "dtype": "fp32"}))
    assert small.weight_bytes < 0.7 * plain.weight_bytes
    assert small.backbone_parameters == plain.backbone_parameters
