"""A cache of frozen inputs' keys and values: computed once, used in every epoch and by every task.

Where the prompt stands after the input (slot "suffix"), nothing about the input changes while the
prompt is trained. Inputs are computed in groups that depend on the list of inputs alone, so that a
run that was killed finds the same bits again.

A file of a cache on disk is `header | groups`; a group counts once its checksum stands in the
header's table and is right. Anything else in the file is computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cuecard.backbones.kernels.packing import Past, past_of
from cuecard.plain_files import writing_to

Place = Literal["memory", "disk"]
Compute = Callable[[Sequence[tuple[int, ...]]], Tensor]

# Groups fill the processor well and are still computed in a moment.
_GROUP_TOKENS = 512
_ABSENT = -1


@dataclass(frozen=True, slots=True)
class Shape:
    """What one token's keys and values are: layers L, key heads K, size D, and their type."""

    layers: int
    heads: int
    size: int
    dtype: torch.dtype

    @property
    def token_bytes(self) -> int:
        """Bytes per token."""
        return 2 * self.layers * self.heads * self.size * self.dtype.itemsize


class InputCache:
    """Keys and values of a fixed list of inputs, filled as they are asked for.

    Args:
        inputs: token ids; equal ones are kept once.
        shape: of what is kept per token.
        compute: a group of inputs -> [L, 2, K, tokens, D], one after the other.
        file: where they are kept; None keeps them in memory.
        key: what else they depend on (the backbone); a file made with another one is made anew.
    """

    def __init__(
        self,
        inputs: Sequence[tuple[int, ...]],
        shape: Shape,
        compute: Compute,
        *,
        file: Path | None = None,
        key: str = "",
    ) -> None:
        self._shape, self._compute = shape, compute
        self._groups = _grouped(inputs)
        self._at: dict[tuple[int, ...], tuple[int, int]] = {}
        self._starts = []
        total = 0
        for number, group in enumerate(self._groups):
            self._starts.append(total)
            for ids in group:
                self._at[ids] = (number, total)
                total += len(ids)
        self._total, self.hits, self.misses = total, 0, 0
        self._file, self._name = file, key
        self._trusted = [False] * len(self._groups)

    @cached_property
    def _store(self) -> _Store:
        """Room for all of it, taken on the first use: until then it may turn out to be too much."""
        return _Store(self._file, self._key(), len(self._groups), self._total, self._shape)

    @property
    def place(self) -> Place:
        """Where the keys and values are kept."""
        return "memory" if self._file is None else "disk"

    @property
    def tokens(self) -> int:
        """Tokens of all inputs."""
        return self._total

    @property
    def nbytes(self) -> int:
        """How much they are when all are there."""
        return self._total * self._shape.token_bytes

    def is_of(self, inputs: Sequence[tuple[int, ...]], file: Path | None) -> bool:
        """Whether it is the cache of just these inputs, in this place."""
        return self._file == file and self._at.keys() == set(inputs)

    def __contains__(self, ids: tuple[int, ...]) -> bool:
        return ids in self._at

    def past(self, inputs: Sequence[tuple[int, ...]], device: torch.device, room: int = 0) -> Past:
        """What stands before rows with these inputs.

        Args:
            room: places left after every past for the row's own keys and values.

        Raises:
            KeyError: an input that is not in the list.
        """
        return past_of([self._row(ids) for ids in inputs], device, room)

    def _row(self, ids: tuple[int, ...]) -> Tensor:
        """[L, 2, K, t, D]"""
        group, start = self._at[ids]
        if not self._trusted[group]:
            self._trusted[group] = self._store.intact(group, *self._span(group))
            if not self._trusted[group]:
                self.misses += 1
                self._store.put(group, self._span(group)[0], self._compute(self._groups[group]))
                self._trusted[group] = True
        self.hits += 1
        return self._store.values[:, :, :, start : start + len(ids)]

    def _span(self, group: int) -> tuple[int, int]:
        start = self._starts[group]
        return start, start + sum(map(len, self._groups[group]))

    def _key(self) -> str:
        total = hashlib.sha256(f"{self._name}|{self._shape}".encode())
        for group in self._groups:
            total.update(json.dumps(group).encode())
        return total.hexdigest()


class _Store:
    """The values [L, 2, K, tokens, D] and a checksum per group, in memory or in one file."""

    def __init__(self, file: Path | None, key: str, groups: int, tokens: int, shape: Shape) -> None:
        size = (shape.layers, 2, shape.heads, tokens, shape.size)
        if file is None:
            self._sums = np.full(groups, _ABSENT, dtype=np.int64)
            with torch.inference_mode(False):  # to be written to in training too
                self.values = torch.empty(size, dtype=shape.dtype)
            return
        header = key.encode()
        begin = len(header) + groups * 8
        begin += -begin % 64
        length = begin + tokens * shape.token_bytes
        fresh = not _is_of(file, header, length)
        if fresh:
            _make(file, header + np.full(groups, _ABSENT, dtype=np.int64).tobytes(), length)
        self._sums = np.memmap(file, np.int64, "r+", len(header), (groups,))
        values: NDArray[np.uint8] = np.memmap(file, np.uint8, "r+", begin, (length - begin,))
        with torch.inference_mode(False):
            self.values = torch.from_numpy(values).view(shape.dtype).view(size)

    def intact(self, group: int, start: int, end: int) -> bool:
        known = int(self._sums[group])
        return known != _ABSENT and known == self._sum(start, end)

    def put(self, group: int, start: int, values: Tensor) -> None:
        end = start + values.shape[3]
        self.values[:, :, :, start:end] = values
        # The checksum comes last: what a kill leaves half written does not count.
        self._sums[group] = self._sum(start, end)

    def _sum(self, start: int, end: int) -> int:
        values = self.values[:, :, :, start:end].contiguous()
        return zlib.crc32(values.view(torch.uint8).numpy().data)


def _grouped(inputs: Sequence[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
    """Inputs of similar length together, a group's tokens about `_GROUP_TOKENS`."""
    groups: list[list[tuple[int, ...]]] = []
    room = 0
    for ids in sorted(set(inputs), key=lambda ids: (len(ids), ids)):
        if not groups or room < len(ids):
            groups.append([])
            room = _GROUP_TOKENS
        groups[-1].append(ids)
        room -= len(ids)
    return groups


def _make(file: Path, header: bytes, length: int) -> None:
    """A file of this length that has its room on the disk.

    A hole would be filled through a memory map, where a full disk kills the process.

    Raises:
        FileError: there is no room, or the folder cannot be written.
    """
    with writing_to(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with file.open("wb") as handle:
                handle.write(header)
                handle.truncate(length)
                handle.flush()
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(handle.fileno(), 0, length)
        except OSError:
            file.unlink(missing_ok=True)
            raise


def _is_of(file: Path, header: bytes, length: int) -> bool:
    if not file.is_file() or file.stat().st_size != length:
        return False
    with file.open("rb") as handle:
        return handle.read(len(header)) == header
