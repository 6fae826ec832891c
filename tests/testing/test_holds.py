"""Assertions that say what was found."""

from __future__ import annotations

import pytest
import torch

from cuecard.testing.holds import holds, refuses, same, within


def test_what_does_not_hold_is_told() -> None:
    holds(True, "never told")
    same([1], [1], "numbers")
    within(torch.ones(2), torch.ones(2) + 5e-5, "logits")
    refuses(lambda: int("one"), ValueError, "never told")
    with pytest.raises(AssertionError, match="it is not"):
        holds(False, "it is not")
    with pytest.raises(AssertionError, match="numbers: 1, expected 2"):
        same(1, 2, "numbers")
    with pytest.raises(AssertionError, match="it is taken"):
        refuses(lambda: int("1"), ValueError, "it is taken")
    with pytest.raises(AssertionError, match="logits: Tensor-likes are not close"):
        within(torch.ones(2), torch.zeros(2), "logits")
