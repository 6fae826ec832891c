"""Readable prompts: the distance to the text, and that it holds."""

from __future__ import annotations

import pytest
import torch

from cuecard.errors import ConfigError
from cuecard.methods import Wayward, method_settings
from cuecard.training import TrainConfig
from cuecard.training.train import train
from support.data.reviews import review_task
from support.init_context import TABLE, context
from support.tiny import tiny_backbone


def test_the_penalty() -> None:
    method = Wayward(text="abcd", gamma=0.3).build(context())
    assert float(method.penalty().detach()) == 0
    with torch.no_grad():
        method.vectors.normal_()
    apart = method.vectors.detach().double() - TABLE[97:101].double()
    expected = 0.3 * sum(float(row.square().sum()) for row in apart) / 4
    assert float(method.penalty().detach()) == pytest.approx(expected, rel=1e-5)


def test_only_a_text_can_be_read() -> None:
    with pytest.raises(ConfigError, match="invalid setting"):
        method_settings("wayward", {"init": "random"})


def test_the_checkpoint_keeps_the_text() -> None:
    assert set(Wayward(text="ab").build(context()).state_dict()) == {"vectors", "text"}


def test_a_large_gamma_holds_the_prompt_at_its_text() -> None:
    backbone, task = tiny_backbone(), review_task(60)
    config = TrainConfig(steps=20, lr=0.05, eval_every=20)

    def apart(gamma: float) -> float:
        run = train(backbone, task, Wayward(text="good or bad", gamma=gamma), config)
        ids = backbone.tokenizer.encode("good or bad", add_special_tokens=False)
        return float((run.prompt.vectors - backbone.embeddings[ids]).pow(2).sum())

    assert apart(100.0) < 0.25 * apart(0.0)
