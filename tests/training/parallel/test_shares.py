"""What the processes' shares of a batch ask for adds up to what one process asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from cuecard.errors import ConfigError
from cuecard.methods import PromptTuning
from cuecard.tasks import Task
from cuecard.training import TrainConfig
from cuecard.training.objective.loss import batch_losses
from cuecard.training.parallel.ranks import Ranks
from cuecard.training.setup import TrainSetup
from cuecard.training.storage.checkpoint import State
from cuecard.training.storage.log import RunLog
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.training.trainer import Trainer
from support.data.head_tasks import (
    answer_task,
    choice_task,
    head_task,
    number_task,
    several_task,
    tag_task,
)
from support.data.pairs import pair_task
from support.data.reviews import LONG_SPEC, review_task, title_task
from support.tiny import tiny_backbone, tiny_encoder

# Losses are in float32, and their sums over rows are rounded in another order.
NEARLY = {"atol": 1e-6, "rtol": 1e-5}
METHOD = PromptTuning(length=3, init="random")
TASKS: dict[str, Callable[[], Task]] = {
    "labels": lambda: review_task(40),
    "long labels": lambda: review_task(40, LONG_SPEC),
    "tokens": lambda: title_task(40),
    "head": lambda: head_task(40),
    "multi-label": lambda: several_task(40),
    "regression": lambda: number_task(40),
    "choice": lambda: choice_task(40),
    "tags": lambda: tag_task(40),
    "spans": lambda: answer_task(40),
}


def gradients(task: Task, batch_rows: int, ranks: Ranks) -> tuple[list[torch.Tensor], float]:
    """What one process makes of a step alone: its gradients, and its part of the loss."""
    config = TrainConfig(batch_rows=batch_rows, accumulation=2)
    prompt = TrainablePrompt(METHOD)
    setup = TrainSetup.of(tiny_backbone(), task, prompt, config).among(ranks)
    method = setup.start
    trainer = Trainer(setup, method, 0.1, State(), RunLog(None))
    for number in range(trainer.begin_step()):
        (batches,) = trainer.batches
        part = batches.part(number)
        total = trainer.weighted(batch_losses(setup.backbone, [part]))
        if part.rows:
            total.backward()  # type: ignore[no-untyped-call]
    found = [torch.zeros_like(p) if p.grad is None else p.grad for p in method.parameters()]
    return found, trainer.batches[0].loss


@pytest.mark.parametrize("name", TASKS)
def test_gradients_of_all_shares_add_up(name: str) -> None:
    task = TASKS[name]()
    whole, loss = gradients(task, 5, Ranks())
    assert any(
        bool(one.any()) for one in whole
    )  # a head starts from zeros, and the prompt after it
    every = [gradients(task, 5, Ranks(rank, 2)) for rank in (0, 1)]
    for number, one in enumerate(whole):
        summed = sum(found[number] for found, _ in every)
        torch.testing.assert_close(summed, one, **NEARLY)
    assert sum(part for _, part in every) == pytest.approx(loss, rel=1e-6)


def test_a_process_may_have_no_row_of_a_batch() -> None:
    task = title_task(40)
    whole, loss = gradients(task, 2, Ranks())
    every = [gradients(task, 2, Ranks(rank, 3)) for rank in (0, 1, 2)]
    assert not any(bool(one.any()) for one in every[2][0]) and every[2][1] == 0
    summed = sum(found[0] for found, _ in every)
    torch.testing.assert_close(summed, whole[0], **NEARLY)
    assert sum(part for _, part in every) == pytest.approx(loss, rel=1e-6)


def test_losses_over_a_whole_batch_are_refused() -> None:
    prompt = TrainablePrompt(METHOD)
    pairs = TrainSetup.of(tiny_encoder(), pair_task(), prompt, TrainConfig())
    with pytest.raises(ConfigError, match="compares a batch's texts"):
        pairs.among(Ranks(0, 2))
    fluent = replace(pairs, loss="labels", config=TrainConfig(fluency=0.5))
    with pytest.raises(ConfigError, match="hides words"):
        fluent.among(Ranks(0, 2))
    assert pairs.among(Ranks()).ranks.size == 1
