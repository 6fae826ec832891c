"""A cache of frozen inputs' keys and values: computed once, used in every epoch and by every task.

Where the prompt stands after the input (slot "suffix"), nothing about the input changes while the
prompt is trained. What all inputs begin with (instruction, demonstrations) is computed and kept
once, the front; the others stand behind it. Inputs are computed in groups that depend on the list
of inputs alone, so that a run that was killed finds the same bits again.

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

from cuecard.plain_files import writing_to
from cuecard.types import common_beginning

Place = Literal["memory", "disk"]
Compute = Callable[[Sequence[tuple[int, ...]], Tensor | None], Tensor]

# A shorter front spares next to no room, and a step no time.
_FRONT_TOKENS = 16
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


def value_sums(keys_values: Tensor, layers: Sequence[int]) -> Tensor:
    """[layers * K * D] float32 the sum over its tokens of these layers' values [L, 2, K, t, D]."""
    return keys_values[list(layers), 1].float().sum(2).flatten()


class InputCache:
    """Keys and values of a fixed list of inputs, filled as they are asked for.

    Args:
        inputs: token ids; equal ones are kept once.
        shape: of what is kept per token.
        compute: a group of inputs, and the front [L, 2, K, F, D] before each of them if there is
            one -> [L, 2, K, tokens, D], one after the other.
        front_on: where the front is wanted; None if what an input begins with depends on the rest.
        file: where they are kept; None keeps them in memory.
        key: what else they depend on (the backbone); a file made with another one is made anew.
        before: a cache whose front serves for this one too, if all inputs begin with it.
    """

    def __init__(
        self,
        inputs: Sequence[tuple[int, ...]],
        shape: Shape,
        compute: Compute,
        *,
        front_on: torch.device | None = None,
        file: Path | None = None,
        key: str = "",
        before: InputCache | None = None,
    ) -> None:
        self._shape, self._compute, self._device = shape, compute, front_on
        shared = 0 if front_on is None else common_beginning(inputs)
        self.front_ids = inputs[0][:shared] if shared >= _FRONT_TOKENS else ()
        known = () if before is None else before.front_ids
        self._before = before if known and self.front_ids[: len(known)] == known else None
        if self._before is not None:
            self.front_ids = known
        begin = len(self.front_ids)
        self._groups = [[self.front_ids]] * bool(begin)
        self._groups += _grouped([ids[begin:] for ids in inputs if len(ids) > begin])
        # Where each input stands without the front: its group, the first token, and how many.
        self._at = {self.front_ids: (0, 0, 0)} if self.front_ids in inputs else {}
        self._starts = []
        total = 0
        for number, group in enumerate(self._groups):
            self._starts.append(total)
            for ids in group:
                if number or not begin:
                    self._at[self.front_ids + ids] = (number, total, len(ids))
                total += len(ids)
        self._lengths = sorted(set(map(len, self._at)), reverse=True)
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

    def beginning(self, ids: tuple[int, ...]) -> tuple[int, ...] | None:
        """The longest input that these tokens begin with and go on after; None for none."""
        fitting = (ids[:length] for length in self._lengths if length < len(ids))
        return next((each for each in fitting if each in self._at), None)

    def fill(self) -> None:
        """Compute all that is not there yet."""
        assert self.front is not None or not self.front_ids
        for group in range(int(bool(self.front_ids)), len(self._groups)):
            self._values(group, self._starts[group], 0)

    def own(self, inputs: Sequence[tuple[int, ...]]) -> list[Tensor]:
        """Each input's [L, 2, K, t, D] after the front.

        Raises:
            KeyError: an input that is not in the list.
        """
        self.hits += len(inputs)
        return [self._values(*self._at[ids]) for ids in inputs]

    @cached_property
    def front(self) -> Tensor | None:
        """[L, 2, K, F, D] what every input begins with; None if that is little or nothing."""
        if not self.front_ids:
            return None
        if self._before is not None:
            return self._before.front
        with torch.inference_mode(False):  # for training too
            return self._values(0, 0, len(self.front_ids)).to(self._device).contiguous()

    def _values(self, group: int, start: int, count: int) -> Tensor:
        """[L, 2, K, t, D] some of a group's, computed if they are not there."""
        if not self._trusted[group]:
            begin, end = self._span(group)
            if not self._store.intact(group, begin, end):
                self.misses += 1
                before = self.front if group else None
                self._store.put(group, begin, self._compute(self._groups[group], before))
            self._trusted[group] = True
        return self._store.values[:, :, :, start : start + count]

    def _span(self, group: int) -> tuple[int, int]:
        start = self._starts[group]
        return start, start + sum(map(len, self._groups[group]))

    def _key(self) -> str:
        front = "|front" if self.front_ids else ""
        total = hashlib.sha256(f"{self._name}|{self._shape}{front}".encode())
        for group in self._groups:
            total.update(json.dumps(group).encode())
        return total.hexdigest()


class _Store:
    """The values [L, 2, K, tokens, D], in memory, or in one file with a checksum per group."""

    def __init__(self, file: Path | None, key: str, groups: int, tokens: int, shape: Shape) -> None:
        size = (shape.layers, 2, shape.heads, tokens, shape.size)
        if file is None:
            self._sums: NDArray[np.int64] | None = None
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
        if self._sums is None:  # whoever fills it knows what is there
            return False
        known = int(self._sums[group])
        return known != _ABSENT and known == self._sum(start, end)

    def put(self, group: int, start: int, values: Tensor) -> None:
        end = start + values.shape[3]
        self.values[:, :, :, start:end] = values
        if self._sums is not None:
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
