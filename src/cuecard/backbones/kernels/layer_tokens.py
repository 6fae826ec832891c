"""Prompt vectors that replace the hidden states at their places in the input of each later layer.

Jia et al., "Visual Prompt Tuning" (ECCV 2022), section 3.1, "VPT-Deep", here on text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cuecard.errors import BackboneError
from cuecard.types import States


@dataclass(frozen=True, slots=True)
class PlacedLayerTokens:
    """Layers' vectors, and where they go in one call's hidden states.

    Attributes:
        layers: [L, P, H]; the first layer's are among the embeddings and not used here.
        at: [n] places in the hidden states [B, W, H] seen as [B * W, H].
        index: [n] which vector stands at each.
    """

    layers: Tensor
    at: Tensor
    index: Tensor

    def behind(self, start: int) -> PlacedLayerTokens:
        """The same where `start` places come first."""
        return PlacedLayerTokens(self.layers, self.at + start, self.index)


@contextmanager
def replacing(modules: Sequence[nn.Module], given: Sequence[PlacedLayerTokens]) -> Iterator[None]:
    """Let layers take the vectors in instead of what came out of the layer before.

    Raises:
        BackboneError: not every layer ran, or not on hidden states of one shape.
    """
    ran: list[int] = []

    def hook(layer: int) -> Any:
        def replace(_: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
            ran.append(layer)
            hidden = args[0] if args else options["hidden_states"]
            flat = hidden.reshape(-1, hidden.shape[-1])
            for deep in given:
                vectors = deep.layers[layer].to(hidden.dtype)[deep.index]
                flat = flat.index_copy(0, deep.at, vectors)
            replaced = flat.view(hidden.shape)
            if args:
                return (replaced, *args[1:]), options
            return args, {**options, "hidden_states": replaced}

        return replace

    handles = [
        module.register_forward_pre_hook(hook(layer), with_kwargs=True)
        for layer, module in enumerate(modules)
        if layer and given
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    if given and ran != list(range(1, len(modules))):
        raise BackboneError(
            "not every layer took its vectors in",
            got=f"layers {ran}",
            expected=f"1 to {len(modules) - 1}, each once",
        )


@contextmanager
def watching(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Collect the hidden states that each layer takes in."""
    seen: list[Tensor] = []

    def watch(_: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        seen.append(args[0] if args else options["hidden_states"])

    handles = [m.register_forward_pre_hook(watch, with_kwargs=True) for m in modules]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def states_of(
    vectors: Tensor, seen: Sequence[Tensor], kept: Sequence[tuple[Tensor, Tensor]]
) -> States:
    """States from what `watching` saw and each layer's keys and values [1, K, T, D]."""
    # What stands before the first layer may add positions to the embeddings: they are added again.
    hidden = torch.stack([vectors, *(layer[0] for layer in seen[1:])]).detach().float()
    flat = [tensor[0] for layer in kept for tensor in layer]
    if len(kept) != len(seen) or len({tensor.shape for tensor in flat}) != 1:
        return States(hidden, None)
    keys_values = torch.stack(flat).view(len(kept), 2, *flat[0].shape)
    return States(hidden, keys_values.detach().float())
