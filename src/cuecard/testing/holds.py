"""Assertions that hold with `python -O` too, and say what was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


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


def refuses(call: Callable[[], object], error: type[Exception], otherwise: str) -> None:
    """
    Raises:
        AssertionError: the call raises no such error.
    """
    try:
        call()
    except error:
        return
    raise AssertionError(otherwise)


def within(found: Tensor, expected: Tensor, what: str) -> None:
    """
    Raises:
        AssertionError: the two differ by more than float32's rounding in two layers.
    """
    torch.testing.assert_close(
        found, expected, atol=1e-4, rtol=1e-4, msg=lambda text: f"{what}: {text}"
    )


def run_checks(checks: Mapping[str, Callable[[T], None]], what: T, where: str = "") -> None:
    """Every check of one thing.

    Args:
        checks: by name.
        where: it was checked, behind a check's name in an error.

    Raises:
        AssertionError: what does not hold, after the check's name.
    """
    for name, check in checks.items():
        try:
            check(what)
        except AssertionError as error:
            raise AssertionError(f"{name}{where}: {error}") from error
