"""Replace a model's modules by faster functions with the same results, for the length of a call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Forward = Callable[[Tensor], Tensor]
Finder = Callable[[nn.Module], Forward | None]

_LAST_BITS = 4 * torch.finfo(torch.float32).eps


class Fused:
    """The modules of a model for which one of the finders has a function.

    Args:
        finders: module -> what does the same, or None.
    """

    def __init__(self, model: nn.Module, finders: Sequence[Finder]) -> None:
        self._found: list[tuple[nn.Module, Forward]] = []
        self._find(model, finders, set())

    def __len__(self) -> int:
        return len(self._found)

    def _find(self, module: nn.Module, finders: Sequence[Finder], seen: set[nn.Module]) -> None:
        if module in seen:
            return
        seen.add(module)
        with _gathered(module):
            forwards = [forward for find in finders if (forward := find(module)) is not None]
            if forwards and "forward" not in vars(module):
                self._found.append((module, forwards[0]))
            for child in module.children():
                self._find(child, finders, seen)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the functions run instead of the modules; these are as they were afterwards."""
        for module, forward in self._found:
            module.__dict__["forward"] = forward
        try:
            yield
        finally:
            for module, _ in self._found:
                del module.__dict__["forward"]


@contextmanager
def _gathered(module: nn.Module) -> Iterator[None]:
    """A layer that is sharded among processes (FSDP) with all its weights, for a block."""
    layer: Any = module if hasattr(module, "unshard") else None
    if layer is None:
        yield
        return
    layer.unshard()
    try:
        yield
    finally:
        layer.reshard()


def does_the_same(
    module: nn.Module, forward: Forward, like: Tensor, off: float = _LAST_BITS
) -> bool:
    """Whether both give the same on a few vectors [4, H].

    Args:
        like: has H as its last size, and the device and precision.
        off: by how much they may differ, of the largest; float32's last bits by default.
    """
    width = like.shape[-1]
    tried = torch.linspace(-3, 3, 4 * width, device=like.device, dtype=torch.float32)
    tried = tried.view(4, width).sin().to(like.dtype)
    try:
        with torch.no_grad():
            ours, theirs = forward(tried), module(tried)
    except (TypeError, ValueError, RuntimeError):  # a module that asks for something else
        return False
    if not isinstance(theirs, Tensor) or (theirs.shape, theirs.dtype) != (ours.shape, ours.dtype):
        return False
    return bool((ours - theirs).abs().max() <= off * theirs.abs().max())
