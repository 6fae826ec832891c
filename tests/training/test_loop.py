"""Many prompts in one loop: each as alone, whatever becomes of the others."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from cuecard.backbones import CausalBackbone
from cuecard.errors import Interrupted, TrainingError
from cuecard.methods import PromptTuning
from cuecard.tasks import Task
from cuecard.training import TrainConfig
from cuecard.training.loop import run_loop
from cuecard.training.objective.loss import batch_losses
from cuecard.training.objective.validation import Validation
from cuecard.training.setup import TrainSetup
from cuecard.training.storage.checkpoint import Checkpoint, State
from cuecard.training.storage.log import RunLog
from cuecard.training.trainables.initial_method import new_method
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.training.trainer import Trainer, raise_if_diverged
from support.data.reviews import LONG_SPEC, review_task, title_task
from support.tiny import tiny_backbone

BASE = TrainConfig(steps=9, batch_rows=4, eval_every=3, lr=0.05)
# Of no two alike: task, method, and settings of the training.
KINDS: tuple[tuple[Task, PromptTuning, dict[str, Any]], ...] = (
    (review_task(60), PromptTuning(length=4, init="random"), {"seed": 0}),
    (review_task(60), PromptTuning(length=9, init="vocabulary"), {"seed": 1, "lr": 0.01}),
    (review_task(60), PromptTuning(length=5, init="labels", slot="suffix"), {"steps": 5}),
    (title_task(), PromptTuning(length=3, init="random"), {"seed": 2, "batch_rows": 7}),
    (review_task(60, LONG_SPEC), PromptTuning(init="text"), {"accumulation": 2, "clip": 0.1}),
    (review_task(60), PromptTuning(length=2, init="random"), {"optimizer": "adafactor"}),
)


def trainer(
    backbone: CausalBackbone, kind: tuple[Task, PromptTuning, dict[str, Any]], log: RunLog
) -> Trainer:
    task, method, changes = kind
    config = BASE.model_copy(update=changes)
    setup = TrainSetup.of(backbone, task, TrainablePrompt(method), config)
    state = State()

    def score() -> Validation:  # the last step counts as the best, so that the end is compared
        return Validation(loss=1 / (1 + len(state.validations)))

    assert isinstance(config.lr, float)
    return Trainer(setup, setup.start, config.lr, state, log, score=score)


def run(trainers: list[Trainer], **options: Any) -> None:
    checkpoint = Checkpoint(key="", runs=[m.state for m in trainers])
    run_loop(
        trainers,
        checkpoint,
        folder=None,
        every=100,
        stopped=lambda: Interrupted("stopped"),
        **options,
    )


def trained(backbone: CausalBackbone, *kinds: Any) -> list[Trainer]:
    trainers = [trainer(backbone, kind, RunLog(None)) for kind in kinds]
    run(trainers)
    return trainers


def vectors(of: Trainer) -> torch.Tensor:
    return of.method.injection().vectors.detach()


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bloom-alibi"])
def test_together_each_ends_as_alone(kind: str) -> None:
    together = trained(tiny_backbone(kind), *KINDS)
    for ours, one in zip(together, KINDS, strict=True):
        (alone,) = trained(tiny_backbone(kind), one)
        torch.testing.assert_close(vectors(ours), vectors(alone), atol=2e-5, rtol=1e-4)
        assert (ours.state.step, ours.state.best_step) == (alone.state.step, alone.state.best_step)
        assert ours.state.best_step == ours.state.step == ours.setup.config.steps
        start = new_method(ours.setup.backbone, ours.setup.spec, one[1], ours.setup.config.seed)
        assert not torch.allclose(start.injection().vectors, vectors(ours), atol=1e-3)


def test_a_step_of_all_is_one_pass_and_runs_no_token_twice() -> None:
    backbone = tiny_backbone()
    trainers = [trainer(backbone, kind, RunLog(None)) for kind in KINDS]
    for one in trainers:
        one.begin_step()
    parts = [batches.part(0) for one in trainers for batches in one.batches]
    backbone.reset_counts()
    batch_losses(backbone, parts)
    together = dict(backbone.counts)
    backbone.reset_counts()
    for part in parts:
        batch_losses(backbone, [part])
    alone = dict(backbone.counts)
    assert (together.pop("calls"), alone.pop("calls")) == (1, len(trainers))
    assert together == alone


def test_calls_of_a_whole_loop() -> None:
    """Three prompts of equal steps cost the passes of one."""
    backbone = tiny_backbone()
    steps = BASE.steps

    def passes(count: int) -> int:
        trainers = [
            trainer(backbone, (*KINDS[0][:2], {"seed": n}), RunLog(None)) for n in range(count)
        ]
        backbone.reset_counts()
        run(trainers)
        return backbone.counts["calls"]

    assert passes(1) == passes(3) == steps


def test_one_that_diverges_ends_alone() -> None:
    backbone = tiny_backbone()

    def spoil(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 4:
            with torch.no_grad():
                next(iter(bad.method.parameters())).fill_(math.inf)

    good = trainer(backbone, KINDS[0], RunLog(None))
    bad = trainer(backbone, KINDS[1], RunLog(None, spoil))
    run([good, bad])
    (alone,) = trained(tiny_backbone(), KINDS[0])
    torch.testing.assert_close(vectors(good), vectors(alone), atol=2e-5, rtol=1e-4)
    assert (good.state.ended, bad.state.ended, bad.state.step) == ("steps", "diverged", 4)
    raise_if_diverged(good.state)
    with pytest.raises(TrainingError, match=r"(?s)diverged.*step 5"):
        raise_if_diverged(bad.state)
    assert bool(torch.isfinite(vectors(bad)).all())  # the best step's, step 3


def test_members_join_and_leave() -> None:
    """A place that is left is taken by the next one, which ends as it does alone."""
    backbone = tiny_backbone()
    waiting = [KINDS[4], KINDS[3]]
    trainers = [
        trainer(backbone, KINDS[2], RunLog(None)),
        trainer(backbone, KINDS[0], RunLog(None)),
    ]
    most = 0

    def more() -> None:
        nonlocal most
        while waiting and sum(not m.finished for m in trainers) < 2:
            trainers.append(trainer(backbone, waiting.pop(), RunLog(None)))
        most = max(most, sum(not m.finished for m in trainers))

    run(trainers, more=more)
    assert most == 2 and len(trainers) == 4
    for ours, kind in zip(trainers[2:], [KINDS[3], KINDS[4]], strict=True):
        (alone,) = trained(tiny_backbone(), kind)
        torch.testing.assert_close(vectors(ours), vectors(alone), atol=2e-5, rtol=1e-4)


def test_seconds_are_shared_out() -> None:
    trainers = trained(tiny_backbone(), KINDS[0], KINDS[1])
    assert all(m.state.cpu_seconds > 0 and m.state.wall_seconds > 0 for m in trainers)
