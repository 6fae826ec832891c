"""Keys and values of prompts, and of cached prefixes of their contexts, under a memory cap.

What is in use is pinned and stays. Of the rest, what was used longest ago goes first.
"""

from __future__ import annotations

from collections import Counter, OrderedDict

from torch import Tensor

# A prompt's digest ("" for the bare backbone), and the token ids that follow it.
Key = tuple[str, tuple[int, ...]]


class PromptCache:
    """Tensors by key, least recently used first.

    Args:
        capacity: bytes. Exceeded only by what is in use.

    Attributes:
        nbytes: of all that is kept.
        pinned: bytes in use, and of what is being computed.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.hits = self.misses = self.evictions = 0
        self.nbytes = self.pinned = 0
        self._kept: OrderedDict[Key, Tensor] = OrderedDict()
        self._pins: Counter[Key] = Counter()
        self._promised: dict[Key, int] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, key: Key) -> Tensor:
        return self._kept[key]

    def pin(self, key: Key, *, promised: bool = False) -> bool:
        """Pin an entry for the caller; False if it is not there.

        Args:
            promised: whether one that is promised will do.
        """
        if key in self._kept:
            self._kept.move_to_end(key)
        elif not (promised and key in self._promised):
            return False
        self.hits += 1
        self._pin(key)
        return True

    def promise(self, key: Key, nbytes: int) -> bool:
        """Make room for what will be put, pinned for the caller; False while others need it."""
        if self.pinned and self.pinned + nbytes > self.capacity:
            return False
        self.misses += 1
        self._promised[key] = nbytes
        self._pin(key)
        return True

    def is_promised(self, key: Key) -> bool:
        """Whether something is being computed."""
        return key in self._promised

    def put(self, key: Key, values: Tensor) -> None:
        """Keep, and let go of what is over the cap."""
        if key in self._pins:
            self.pinned += _size(values) - self._bytes_of(key)
        self._promised.pop(key, None)
        self._let_go(key)
        self._kept[key] = values
        self.nbytes += _size(values)
        self._evict()

    def unpin(self, key: Key) -> None:
        """The caller needs it no more."""
        self._pins[key] -= 1
        if not self._pins[key]:
            del self._pins[key]
            self.pinned -= self._bytes_of(key)
            self._promised.pop(key, None)
            self._evict()

    def forget(self, digest: str) -> None:
        """Let go of all that belongs to a prompt that nobody uses."""
        for key in [key for key in self._kept if key[0] == digest and key not in self._pins]:
            self._let_go(key)

    def _pin(self, key: Key) -> None:
        if key not in self._pins:
            self.pinned += self._bytes_of(key)
        self._pins[key] += 1

    def _bytes_of(self, key: Key) -> int:
        kept = self._kept.get(key)
        return self._promised.get(key, 0) if kept is None else _size(kept)

    def _let_go(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.nbytes -= _size(kept)

    def _evict(self) -> None:
        if self.nbytes <= self.capacity:
            return
        for key in [key for key in self._kept if key not in self._pins]:
            if self.nbytes <= self.capacity:
                return
            self._let_go(key)
            self.evictions += 1


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
