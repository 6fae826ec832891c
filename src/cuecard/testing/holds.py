"""Assertions that hold with `python -O` too, and say what was found."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def holds(condition: bool, otherwise: str) -> None:
    """
    Raises:
        AssertionError: it does not hold.
    """
    if not condition:
        raise AssertionError(otherwise)


def same(found: Any, expected: Any, what: str) -> None:
    """
    Raises:
        AssertionError: the two are not equal.
    """
    if found != expected:
        raise AssertionError(f"{what}: {found!r}, expected {expected!r}")


def within(found: Tensor, expected: Tensor, what: str) -> None:
    """
    Raises:
        AssertionError: the two differ by more than float32's rounding in two layers.
    """
    torch.testing.assert_close(
        found, expected, atol=1e-4, rtol=1e-4, msg=lambda text: f"{what}: {text}"
    )
