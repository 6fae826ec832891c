"""The families of backbones by name, and what each takes of a method."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from cuecard.types import Need

TAKES: Mapping[str, frozenset[Need]] = MappingProxyType(
    {
        "causal": frozenset(
            {"input-tokens", "token-shifts", "prefix-kv", "layer-tokens", "next-tokens"}
        ),
        "seq2seq": frozenset({"input-tokens", "token-shifts", "decoder-tokens", "next-tokens"}),
        "masked": frozenset(
            {"input-tokens", "token-shifts", "prefix-kv", "layer-tokens", "masks", "states"}
        ),
    }
)
