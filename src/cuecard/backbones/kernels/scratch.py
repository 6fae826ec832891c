"""A reusable scratch buffer: on a CPU, fresh pages take longer to allocate than to fill."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

# What is kept from one time to the next; more is asked for anew, and given back.
_MOST_BYTES = 64 * 2**20


class ScratchBuffer:
    """Room for tensors that are needed together, and then no more."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self._held = torch.empty(0, dtype=dtype, device=device)
        self._taken = 0

    def clear(self) -> None:
        """What was taken is needed no more."""
        self._taken = 0

    def take(self, size: Sequence[int]) -> Tensor:
        """A tensor of any content."""
        end = self._taken + prod(size)
        if end * self._held.element_size() > _MOST_BYTES:
            return self._held.new_empty(tuple(size))
        if end > len(self._held):
            # What was taken before keeps its memory itself.
            self._held = self._held.new_empty(1 << (end - 1).bit_length())
        start, self._taken = self._taken, end
        return self._held[start:end].view(tuple(size))
