"""Reads GGUF files, the format of llama.cpp: metadata, and tensors as float32.

Layout (version 2 and 3, little-endian): magic, version, counts; key-value pairs; tensor headers
(name, dimensions with the fastest first, type, offset); padding; data. Specification:
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Block types: ggml's `ggml-quants.c`.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cuecard.errors import CatalogueError

Floats = NDArray[np.float32]
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?"} | {
    10: "<Q",
    11: "<q",
    12: "<d",
}
_STRING, _ARRAY = 8, 9
_BLOCK = 32
_SUPER = 256  # of the K-quants, whose blocks share scales of scales
_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class _Header:
    shape: tuple[int, ...]
    kind: int
    offset: int


@dataclass(frozen=True)
class GgufFile:
    """An open GGUF file.

    Attributes:
        path: the file.
        metadata: its key-value pairs; arrays are lists.
        shapes: tensor name -> shape, slowest dimension first.
    """

    path: Path
    metadata: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    _headers: Mapping[str, _Header]
    _data: memoryview

    def tensor(self, name: str) -> Floats:
        """A tensor, dequantised to float32.

        Raises:
            CatalogueError: no such tensor, a type that is not read, or a file cut short.
        """
        header = self._headers.get(name)
        if header is None:
            raise _bad(self.path, f"no tensor {name}")
        if header.kind not in _TYPES:
            raise _bad(self.path, f"{name} has ggml type {header.kind}", f"one of {list(_TYPES)}")
        kind = _TYPES[header.kind]
        count = math.prod(header.shape)
        end = header.offset + count // kind.values * kind.size
        if count % kind.values or end > len(self._data):
            raise _bad(self.path, f"{name} needs bytes {header.offset} to {end}")
        raw = np.frombuffer(self._data[header.offset : end], np.uint8).reshape(-1, kind.size)
        values = np.empty((len(raw), kind.values), np.float32)
        # In pieces, since the decoders' intermediate arrays are several times as large.
        for start in range(0, len(raw), _PIECE):
            values[start : start + _PIECE] = kind.decode(raw[start : start + _PIECE])
        return values.reshape(header.shape)


def read_gguf(path: Path) -> GgufFile:
    """Open a GGUF file and read all but its tensors.

    Raises:
        CatalogueError: not a GGUF file of version 2 or 3, or a file cut short.
    """
    try:
        with path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        if bytes(data[:4]) != b"GGUF":
            raise _bad(path, f"it begins with {bytes(data[:4])!r}")
        cursor = _Cursor(data, 4)
        version, tensors, pairs = cursor.take("<I"), cursor.take("<Q"), cursor.take("<Q")
        if version not in (2, 3):
            raise _bad(path, f"version {version}")
        metadata = {cursor.string(): cursor.value(cursor.take("<I")) for _ in range(pairs)}
        headers = [(cursor.string(), _header(cursor)) for _ in range(tensors)]
    except (struct.error, UnicodeDecodeError, KeyError, ValueError) as error:
        raise _bad(path, f"{type(error).__name__}: {error}") from error
    align = metadata.get("general.alignment", 32)
    start = -(-cursor.at // align) * align
    placed = {name: _Header(h.shape, h.kind, start + h.offset) for name, h in headers}
    return GgufFile(path, metadata, {name: h.shape for name, h in headers}, placed, data)


class _Cursor:
    """A place in the bytes that moves on with every value taken."""

    def __init__(self, data: memoryview, at: int) -> None:
        self.data = data
        self.at = at

    def take(self, form: str) -> Any:
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def string(self) -> str:
        length = self.take("<Q")
        piece = self.data[self.at : self.at + length]
        if len(piece) != length:
            raise ValueError(f"a string of {length} bytes at byte {self.at}")
        self.at += length
        return bytes(piece).decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            return self.take(_SCALARS[kind])
        inner, count = self.take("<I"), self.take("<Q")
        if count > len(self.data):
            raise ValueError(f"an array of {count} values at byte {self.at}")
        return [self.value(inner) for _ in range(count)]


def _header(cursor: _Cursor) -> _Header:
    dimensions = cursor.take("<I")
    shape = tuple(cursor.take("<Q") for _ in range(dimensions))[::-1]
    return _Header(shape, cursor.take("<I"), cursor.take("<Q"))


def _f32(raw: NDArray[np.uint8]) -> Floats:
    return raw.view("<f4").astype(np.float32)


def _f16(raw: NDArray[np.uint8]) -> Floats:
    return raw.view("<f2").astype(np.float32)


def _q8_0(raw: NDArray[np.uint8]) -> Floats:
    """Blocks of one float16 scale and 32 signed bytes: scale * q."""
    scale = raw[:, :2].view("<f2").astype(np.float32)
    return scale * raw[:, 2:].view(np.int8).astype(np.float32)


def _q4_1(raw: NDArray[np.uint8]) -> Floats:
    """Blocks of float16 scale and minimum and 16 bytes: low halves first; scale * q + minimum."""
    scale = raw[:, 0:2].view("<f2").astype(np.float32)
    minimum = raw[:, 2:4].view("<f2").astype(np.float32)
    packed = raw[:, 4:]
    values = np.concatenate([packed & 0x0F, packed >> 4], axis=1)
    return scale * values.astype(np.float32) + minimum


def _q5_0(raw: NDArray[np.uint8]) -> Floats:
    """Blocks of a float16 scale, 32 fifth bits, 16 bytes (low halves first): scale * (q - 16)."""
    scale = raw[:, 0:2].view("<f2").astype(np.float32)
    fifth = np.unpackbits(raw[:, 2:6], axis=1, bitorder="little")
    packed = raw[:, 6:]
    low = np.concatenate([packed & 0x0F, packed >> 4], axis=1)
    values: Floats = (low | (fifth << 4)).astype(np.float32) - 16
    return scale * values


def _q4_k(raw: NDArray[np.uint8]) -> Floats:
    """Eight times 32 values: scale * s * q - minimum * m, with s and m of 6 bits, q of 4.

    A float16 scale and minimum; 12 bytes of s and m: the first four of each in the low 6 bits of
    bytes 0-3 and 4-7, the others in the halves of bytes 8-11 below two high bits of those; then
    128 bytes, of every 32 the low halves and then the high ones.
    """
    scale, minimum = (raw[:, at : at + 2].view("<f2").astype(np.float32) for at in (0, 2))
    first, second, both = raw[:, 4:8], raw[:, 8:12], raw[:, 12:16]
    s = np.concatenate([first & 63, (both & 15) | ((first >> 6) << 4)], axis=1)
    m = np.concatenate([second & 63, (both >> 4) | ((second >> 6) << 4)], axis=1)
    packed = raw[:, 16:].reshape(-1, 4, 1, 32)
    q = np.concatenate([packed & 15, packed >> 4], axis=2).reshape(-1, 8, 32)
    values: Floats = (scale * s)[:, :, None] * q - (minimum * m)[:, :, None]
    return values.reshape(-1, _SUPER)


def _q6_k(raw: NDArray[np.uint8]) -> Floats:
    """Sixteen times 16 values: scale * s * (q - 32), with signed bytes s and q of 6 bits.

    Of each half of the block, four times 32 values: 64 bytes have the low bits, 32 bytes the two
    high ones; then 16 bytes of s and the float16 scale.
    """
    low = raw[:, :128].reshape(-1, 2, 1, 64)
    low = np.concatenate([low & 15, low >> 4], axis=2).reshape(-1, 2, 4, 32)
    high = raw[:, 128:192].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8)[:, None]
    q = (low | ((high & 3) << 4)).reshape(-1, 16, 16).astype(np.float32) - 32
    s = raw[:, 192:208].view(np.int8).astype(np.float32)
    scale = raw[:, 208:].view("<f2").astype(np.float32)
    values: Floats = (scale * s)[:, :, None] * q
    return values.reshape(-1, _SUPER)


@dataclass(frozen=True, slots=True)
class _Type:
    values: int
    size: int
    decode: Callable[[NDArray[np.uint8]], Floats]


_TYPES = {
    0: _Type(1, 4, _f32),
    1: _Type(1, 2, _f16),
    3: _Type(_BLOCK, 20, _q4_1),
    6: _Type(_BLOCK, 22, _q5_0),
    8: _Type(_BLOCK, 34, _q8_0),
    12: _Type(_SUPER, 144, _q4_k),
    14: _Type(_SUPER, 210, _q6_k),
}


def _bad(path: Path, got: str, expected: str = "a GGUF file of version 2 or 3") -> CatalogueError:
    return CatalogueError("the weights cannot be read", where=path.name, got=got, expected=expected)
