from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cuecard.methods import PTuningV2
from cuecard.training import TrainConfig
from cuecard.training.sweeps.learning_rates import trial_config, trial_steps
from cuecard.training.train import train
from support.data.reviews import review_task
from support.tiny import tiny_backbone


def test_a_trial_is_a_short_run_of_its_own() -> None:
    steps = {n: trial_config(TrainConfig(steps=n)).steps for n in (5, 50, 100, 300, 600, 5000)}
    assert steps == {5: 5, 50: 20, 100: 20, 300: 30, 600: 60, 5000: 60}
    assert trial_steps(TrainConfig(lr="auto")) == 3 * 30 and trial_steps(TrainConfig()) == 0
    trial = trial_config(TrainConfig(steps=1000, warmup=100, schedule="constant", patience=3))
    assert (trial.warmup, trial.schedule, trial.patience, trial.select) == (6, "cosine", 0, "loss")


@pytest.mark.parametrize(("far_off", "best"), [(1e-3, 3e-3), (20.0, 6.0)])
def test_auto_finds_a_better_rate(far_off: float, best: float) -> None:
    backbone, task, tried = tiny_backbone(), review_task(100), []
    method = PTuningV2(length=4, init="random", values_lr=far_off)
    forward: list[int] = []

    def watch(event: dict[str, Any]) -> None:
        if event["event"] in ("start", "lr"):
            forward.append(backbone.counts["tokens"])
        if event["event"] == "lr":
            tried.append(event)

    config = TrainConfig(steps=20, eval_every=20)
    found = train(backbone, task, method, config.model_copy(update={"lr": "auto"}), observer=watch)
    assert [event["lr"] for event in tried] == pytest.approx([0.3 * far_off, far_off, 3 * far_off])
    losses = {event["lr"]: event["loss"] for event in tried}
    assert found.lr == min(losses, key=lambda lr: losses[lr]) == pytest.approx(best)
    given = train(backbone, task, method.model_copy(update={"values_lr": found.lr}), config)
    plain = train(backbone, task, method, config)
    assert found.prompt.digest == given.prompt.digest
    assert found.validation.loss < plain.validation.loss - 0.02
    # A step's tokens count twice, a validation's once.
    spent = forward[1] - forward[0]
    assert spent < found.tokens - given.tokens < 2 * spent


def test_auto_keeps_the_default_where_nothing_helps() -> None:
    method = PTuningV2(length=4, values_lr=1e-12)
    run = train(tiny_backbone(), review_task(60), method, TrainConfig(steps=3, lr="auto"))
    assert run.lr == 1e-12


def test_an_auto_run_that_was_cut_ends_the_same(tmp_path: Path) -> None:
    backbone, task, method = tiny_backbone(), review_task(60), PTuningV2(length=4)
    config = TrainConfig(steps=6, lr="auto", checkpoint_every=2)

    def cut(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 4:
            raise RuntimeError("killed")

    whole = train(backbone, task, method, config)
    seen: list[str] = []
    with pytest.raises(RuntimeError, match="killed"):
        train(backbone, task, method, config, folder=tmp_path, observer=cut)
    again = train(
        backbone, task, method, config, folder=tmp_path, observer=lambda e: seen.append(e["event"])
    )
    assert "lr" not in seen and seen.count("step") == 4
    assert (again.lr, again.prompt.digest) == (whole.lr, whole.prompt.digest)
    assert again.tokens == whole.tokens
