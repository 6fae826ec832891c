"""The learning rate that a method chiefly learns with: the run's, or by default a setting's."""

from __future__ import annotations

from typing import Literal

from cuecard.errors import ConfigError
from cuecard.types import MethodConfig


def own_rate(method: MethodConfig) -> float | None:
    """The peak learning rate in the method's settings; None where they leave it open."""
    own: float | None = None if method.rate is None else getattr(method, method.rate)
    return own


def check_one_rate(method: MethodConfig, lr: float | Literal["auto"] | None) -> None:
    """
    Args:
        lr: the run's.

    Raises:
        ConfigError: the method's settings were given another rate than the run's.
    """
    if lr is None or lr == "auto" or method.rate not in method.model_fields_set:
        return
    own = own_rate(method)
    if own is not None and own != lr:
        raise ConfigError(
            "two learning rates are given for the same parameters",
            where=f"training.lr and method.{method.rate}",
            got=f"training.lr {lr:g}, method.{method.rate} {own:g}",
            expected="one of them, or the same number",
            hint=f"leave out method.{method.rate}: {method.name} learns at training.lr",
        )
