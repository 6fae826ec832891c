"""Keys and values of prompts, and of what contexts behind them begin with, under a memory cap.

What is in use is pinned and stays. Of the rest, what was used longest ago goes first.
"""

from __future__ import annotations

from collections import Counter, OrderedDict

from torch import Tensor

# A prompt's digest ("" for the bare backbone), and the token ids behind it.
Key = tuple[str, tuple[int, ...]]


class PromptCache:
    """Tensors by key, least recently used first.

    Args:
        capacity: bytes. Exceeded only by what is in use.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.hits = self.misses = self.evictions = 0
        self._kept: OrderedDict[Key, Tensor] = OrderedDict()
        self._pins: Counter[Key] = Counter()
        self._promised: dict[Key, int] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def nbytes(self) -> int:
        """Of all that is kept."""
        return sum(map(_size, self._kept.values()))

    @property
    def pinned(self) -> int:
        """Bytes in use, and of what is being computed."""
        return sum(
            _size(self._kept[key]) if key in self._kept else self._promised.get(key, 0)
            for key in self._pins
        )

    def take(self, key: Key) -> Tensor | None:
        """What is kept, pinned for the caller; None if it is not there."""
        found = self._kept.get(key)
        if found is None:
            return None
        self.hits += 1
        self._kept.move_to_end(key)
        self._pins[key] += 1
        return found

    def promise(self, key: Key, nbytes: int) -> bool:
        """Make room for what will be put, pinned for the caller; False while others need it."""
        pinned = self.pinned
        if pinned and pinned + nbytes > self.capacity:
            return False
        self.misses += 1
        self._promised[key] = nbytes
        self._pins[key] += 1
        return True

    def is_promised(self, key: Key) -> bool:
        """Whether something is being computed."""
        return key in self._promised

    def put(self, key: Key, values: Tensor) -> None:
        """Keep, and let go of what is over the cap."""
        self._promised.pop(key, None)
        self._kept[key] = values
        self._kept.move_to_end(key)
        self._evict()

    def unpin(self, key: Key) -> None:
        """The caller needs it no more."""
        self._pins[key] -= 1
        if not self._pins[key]:
            del self._pins[key]
            self._promised.pop(key, None)
        self._evict()

    def forget(self, digest: str) -> None:
        """Let go of all that belongs to a prompt that nobody uses."""
        for key in [key for key in self._kept if key[0] == digest and key not in self._pins]:
            del self._kept[key]

    def _evict(self) -> None:
        over = self.nbytes - self.capacity
        for key in list(self._kept):
            if over <= 0:
                return
            if key not in self._pins:
                over -= _size(self._kept.pop(key))
                self.evictions += 1


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
