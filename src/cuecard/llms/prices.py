"""What tokens cost, by model. A user's own table goes first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cuecard.llms.protocol import TokenUsage


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars for a million tokens, which are millionths of a dollar for each."""

    prompt: float = 0.0
    completion: float = 0.0

    def of(self, usage: TokenUsage) -> int:
        """In millionths of a dollar, rounded up."""
        cost = self.prompt * usage.prompt_tokens + self.completion * usage.completion_tokens
        return math.ceil(cost - 1e-9)


PRICES: Mapping[str, Price] = MappingProxyType(
    {
        "gpt-4o": Price(2.50, 10.00),
        "gpt-4o-mini": Price(0.15, 0.60),
        "gpt-4.1": Price(2.00, 8.00),
        "gpt-4.1-mini": Price(0.40, 1.60),
        "gpt-4.1-nano": Price(0.10, 0.40),
    }
)
"""List prices as published in 2025, which change: `--price` says what yours are."""


def price_of(model: str, own: Mapping[str, Price] | None = None) -> Price | None:
    """A model's price, also of a dated version ("gpt-4o-2024-08-06"); None where none is known."""
    known = {**PRICES, **(own or {})}
    named = [name for name in known if model == name or model.startswith(f"{name}-20")]
    return known[max(named, key=len)] if named else None
