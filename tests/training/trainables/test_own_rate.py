"""Which rate a run's `lr` is by method and adapter, and in what is reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cuecard.errors import ConfigError
from cuecard.methods import METHODS, DeepPrompts, PTuningV2, method_settings
from cuecard.training import SweepConfig, TrainConfig
from cuecard.training.objective.loss import batch_losses
from cuecard.training.setup import TrainSetup
from cuecard.training.storage.checkpoint import State
from cuecard.training.storage.log import RunLog
from cuecard.training.sweep import sweep
from cuecard.training.train import train
from cuecard.training.train_lora import TrainableAdapter
from cuecard.training.trainables.lora import LoraSettings
from cuecard.training.trainables.trainable import Trainable, TrainablePrompt
from cuecard.training.trainer import Trainer
from support.data.reviews import review_task
from support.tiny import tiny_backbone
from support.tiny_clip import tiny_clip
from support.tiny_vision import drawn_task

_LINEAR = ("weight", "bias")
# What each method chiefly learns with, and its default rate; None is the embeddings' share.
MAIN: dict[str, tuple[set[str], float | None]] = {
    "prompt-tuning": ({"vectors"}, None),
    "p-tuning": (
        {f"{layer}.{part}" for layer in ("inner.0", "inner.2", "last") for part in _LINEAR},
        1e-4,
    ),
    "residual": ({"vectors"}, None),
    "dept": ({"vectors"}, None),
    "mpt": ({"vectors"}, None),
    "attempt": ({"vectors"}, None),
    "wayward": ({"vectors"}, None),
    "prefix-tuning": ({"inner", "inner_bias", "last", "last_bias"}, 1e-4),
    "p-tuning-v2": ({"keys_values"}, 0.01),
    "deep-prompts": ({"others"}, 0.01),
    "coop": ({"0"}, 0.002),
    "cocoop": ({"0", "1", "2", "3", "4"}, 0.002),
    "maple": ({"0", "1", "2"}, 0.002),
    "promptsrc": ({"0", "1"}, 0.002),
}
# What a method cannot be built without.
GIVEN = {"attempt": {"sources": torch.randn(2, 4, 32, generator=torch.Generator().manual_seed(0))}}
PLAIN = 0.0211  # 0.07 times the RMS of the tiny backbone's embeddings


def first_step(trainable: Trainable, **settings: Any) -> tuple[dict[str, float], Trainer, Any]:
    """Each parameter's largest change in a first step, the trainer, and the step as logged."""
    backbone, task = tiny_backbone(), review_task(60)
    if "labels" in getattr(getattr(trainable, "method", None), "requires", ()):
        backbone, task = tiny_clip(), drawn_task(40)
    seen: list[dict[str, Any]] = []
    setup = TrainSetup.of(backbone, task, trainable, TrainConfig(steps=4, warmup=0, **settings))
    method: Any = setup.start
    named = (
        dict(method.named_parameters())
        if isinstance(method, torch.nn.Module)
        else {str(i): p for i, p in enumerate(method.parameters())}
    )
    before = {name: parameter.detach().clone() for name, parameter in named.items()}
    trainer = Trainer(setup, method, setup.peak_lr, State(), RunLog(None, seen.append))
    with trainable.attached(method):
        trainer.begin_step()
        parts = [batches.part(0) for batches in trainer.batches]
        trainer.weighted(list(batch_losses(backbone, parts))).backward()
    trainer.end_step(0.0)
    moved = {name: float((p.detach() - before[name]).abs().max()) for name, p in named.items()}
    return moved, trainer, seen[-1]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_learns_at_the_runs_rate(name: str) -> None:
    """A first step of Adam moves whatever has a gradient by the rate."""
    main, default = MAIN[name]
    trainable = TrainablePrompt(method_settings(name, {"length": 4} | GIVEN.get(name, {})))
    unmoved: list[dict[str, float]] = []
    for lr in (None, 0.003, 0.05):
        moved, trainer, logged = first_step(trainable, lr=lr)
        expected = lr or default or PLAIN
        assert trainer.lr == logged["lr"] == trainer.state.lr == pytest.approx(expected)
        largest = max(size for parameter, size in moved.items() if parameter in main)
        assert largest == pytest.approx(expected, rel=0.01)
        unmoved.append({p: size for p, size in moved.items() if p not in main})
    assert unmoved[0] == unmoved[1] == unmoved[2]  # what else there is keeps its rate
    rates = [field for field in METHODS[name].model_fields if field.endswith("_lr")]
    assert METHODS[name].rate in (None, *rates)


def test_an_adapter_learns_at_the_runs_rate() -> None:
    for lr in (None, 0.05):
        moved, trainer, logged = first_step(TrainableAdapter(LoraSettings(rank=2)), lr=lr)
        assert trainer.lr == logged["lr"] == (lr or 5e-4)
        assert max(moved.values()) == pytest.approx(lr or 5e-4, rel=0.01)


def test_a_rate_of_ones_own_is_the_runs() -> None:
    moved, trainer, _ = first_step(TrainablePrompt(PTuningV2(length=4, values_lr=0.2)))
    assert trainer.lr == 0.2 and moved["keys_values"] == pytest.approx(0.2, rel=0.01)
    first_step(TrainablePrompt(PTuningV2(length=4, values_lr=0.2)), lr=0.2)
    moved, trainer, _ = first_step(TrainablePrompt(PTuningV2(length=4, values_lr=None)))
    assert trainer.lr == pytest.approx(PLAIN)


def test_two_rates_are_refused() -> None:
    config = TrainConfig(steps=2, lr=0.03)
    backbone, task = tiny_backbone(), review_task(60)
    for method in (PTuningV2(values_lr=0.01), DeepPrompts(layers_lr=0.5)):
        with pytest.raises(ConfigError, match=rf"(?s)training\.lr 0\.03.*method\.{method.rate} 0"):
            train(backbone, task, method, config)
    both = SweepConfig(grid={"values_lr": (0.02, 0.03)})
    with pytest.raises(ConfigError, match=r"method\.values_lr 0\.02"):
        sweep(backbone, task, both, PTuningV2(), config)


def test_what_is_kept_says_the_rate_that_was_used(tmp_path: Path) -> None:
    backbone, task, method = tiny_backbone(), review_task(60), PTuningV2(length=4)
    config = TrainConfig(steps=2, lr=0.03)
    run = train(backbone, task, method, config, folder=tmp_path)
    assert run.lr == 0.03 and run.prompt.manifest.method_config["values_lr"] == 0.03
    by_lr = sweep(backbone, task, SweepConfig(grid={"lr": (0.03,)}), method, TrainConfig(steps=2))
    own = SweepConfig(grid={"values_lr": (0.03,)})
    by_own = sweep(backbone, task, own, method, TrainConfig(steps=2))
    for found in (by_lr.run, by_own.run):
        assert found.lr == 0.03
        assert found.prompt.digest == run.prompt.digest


def test_a_checkpoint_keeps_the_rates_it_was_written_with() -> None:
    """cuecard 0.1 named the embeddings' rate as the run's, and trained keys and values at 0.01."""
    _, trainer, _ = first_step(TrainablePrompt(PTuningV2(length=4)))
    trainer.save_state()
    state = trainer.state
    state.lr = PLAIN
    again = Trainer(trainer.setup, trainer.setup.new_method(), PLAIN, state, RunLog(None))
    assert again.lr == state.lr == 0.01
