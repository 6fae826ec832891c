"""Trained heads: every kind of task learns, is kept, is loaded and answers as it did."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cuecard.artifacts import Prompt
from cuecard.errors import ConfigError
from cuecard.evaluation import evaluate
from cuecard.methods import PromptTuning, method_settings
from cuecard.tasks import Task
from cuecard.training import TrainConfig, answer, train
from cuecard.training.head import head_loss
from head_tasks import (
    ANSWER,
    HEAD_SPEC,
    NUMBER,
    SEVERAL,
    TAGS,
    answer_task,
    choice_task,
    head_task,
    number_task,
    several_task,
    tag_task,
)
from reviews import review_task
from tiny import tiny_backbone

METHOD = PromptTuning(length=8, init="random")
CONFIG = TrainConfig(steps=150, batch_rows=16, head_lr=0.01)

# The task, and the least score on rows that it never saw.
LEARNT: dict[str, tuple[Callable[[], Task], float]] = {
    "classification": (head_task, 0.8),
    "multi-label": (several_task, 0.75),
    "regression": (number_task, 0.6),
    "multiple-choice": (choice_task, 0.6),
    "tagging": (tag_task, 0.8),
    "extractive-qa": (answer_task, 0.8),
}


@pytest.mark.parametrize("kind", LEARNT)
def test_it_learns_what_can_be_learnt(kind: str) -> None:
    make, least = LEARNT[kind]
    task, seen = make(), []
    run = train(tiny_backbone(), task, METHOD, CONFIG, observer=seen.append)
    losses = [e["validation_loss"] for e in seen if e["event"] == "validation"]
    assert min(losses) < 0.8 * losses[0]
    assert run.test is not None
    assert run.test.score >= least, run.test.metrics
    assert run.test.primary in run.test.ci95
