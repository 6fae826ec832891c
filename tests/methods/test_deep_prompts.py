from __future__ import annotations

import pytest
import torch

from cuecard.methods import DeepPrompts
from support.init_context import TABLE, context, states


def test_it_starts_where_prompt_tuning_would_be_in_every_layer() -> None:
    method = DeepPrompts(text="hey").build(context())
    expected = states(TABLE[[104, 101, 121]]).hidden
    assert torch.equal(method.injection().vectors, expected)
    assert method.penalty() is None


def test_two_rates() -> None:
    first, others = DeepPrompts(length=4).build(context()).groups()
    assert first.lr == "embeddings" and first.parameters[0].shape == (4, 8)
    assert others.lr is None and others.parameters[0].shape == (2, 4, 8)


def test_behind_everything_it_would_be_dead() -> None:
    with pytest.raises(ValueError, match="slot"):
        DeepPrompts.model_validate({"slot": "suffix"})
