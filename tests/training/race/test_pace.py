"""What a step is measured to take."""

from __future__ import annotations

import itertools

from cuecard.methods import PromptTuning
from cuecard.training import TrainConfig
from cuecard.training.race.pace import two_passes
from cuecard.training.setup import TrainSetup
from cuecard.training.trainables.trainable import TrainablePrompt
from support.data.reviews import review_task
from support.tiny import tiny_backbone


def test_a_step_with_the_fluency_constraint_runs_its_rows_twice() -> None:
    backbone, task = tiny_backbone(), review_task(60)
    tokens = []
    for weight in (0.0, 0.5):
        prompt = TrainablePrompt(PromptTuning(length=4, init="random"))
        config = TrainConfig(steps=2, fluency=weight)
        setup = TrainSetup.of(backbone, task, prompt, config)
        before = dict(backbone.counts)
        first, second = two_passes(setup, itertools.count().__next__)
        assert first.rows == second.rows == config.batch_rows
        assert dict(backbone.counts) == before
        tokens.append(second.tokens)
    # What rows begin with in common is run once, and what is read may be none of it.
    assert 2 * tokens[0] <= tokens[1] < 2.1 * tokens[0]
