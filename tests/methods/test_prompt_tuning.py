from __future__ import annotations

import torch

from cuecard.methods import PromptTuning
from support.init_context import TABLE, context


def test_the_injection_is_the_parameter() -> None:
    method = PromptTuning(length=3, init="random").build(context())
    assert method.injection().vectors is method.vectors
    assert method.injection().shifts is None and method.penalty() is None
    (group,) = method.groups()
    assert group.lr is None and group.parameters[0] is method.vectors


def test_the_table_is_not_shared() -> None:
    method = PromptTuning(init="text", text="a").build(context())
    with torch.no_grad():
        method.vectors.add_(1)
    assert not torch.equal(TABLE[97], method.vectors[0])
