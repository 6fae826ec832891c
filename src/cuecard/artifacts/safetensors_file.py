"""Write safetensors files, and read them strictly: they may come from anyone.

The format is https://github.com/huggingface/safetensors: an 8-byte little-endian header length, a
JSON header, then the raw tensors. It is read with numpy, so that a damaged prompt or a question
about one does not wait for torch.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from cuecard.errors import ArtifactError
from cuecard.lazy import lazy_module, np
from cuecard.plain_files import PICKLE_STARTS, parse_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

safetensors_numpy = lazy_module("safetensors.numpy")

TENSOR_NAME = "prompt_embeddings"
MAX_HEADER_BYTES = 1 << 20
MAX_VECTORS = 4096
MAX_HIDDEN_SIZE = 1 << 16
MAX_WIDTH = 1 << 20  # of keys and values of all layers side by side
_BYTES = {"F32": 4, "F16": 2, "BF16": 2}


def parse_tensors(
    content: bytes, where: str, ranks: Mapping[str, int], dtypes: Collection[str] = ("F32",)
) -> dict[str, Array]:
    """The tensors of a prompt's safetensors file.

    Args:
        content: the whole file.
        where: the file's path, for messages.
        ranks: the tensors that must be there, and no other, with their numbers of axes.
        dtypes: the safetensors dtypes to accept, of F32, F16 and BF16.

    Returns:
        By name, finite.

    Raises:
        ArtifactError: truncated or padded file, oversized or broken header, other tensors, other
            dtype, rank or size, NaN or infinity.
    """
    header, data = _split_header(content, where)
    entries = _entries(header, where, ranks)
    found, end = {}, 0
    for name, (dtype, shape, offsets) in entries.items():
        if dtype not in dtypes:
            raise ArtifactError(
                "unsupported tensor type", where=where, got=dtype, expected=" or ".join(dtypes)
            )
        _check_shape(shape, where, ranks[name])
        start, end = end, end + math.prod(shape) * _BYTES[dtype]
        if offsets != [start, end]:
            raise ArtifactError(
                "the tensor's data offsets do not match its shape",
                where=where,
                got=offsets,
                expected=[start, end],
            )
        flat = data[start:end]
        if len(flat) == end - start:  # else the file is too short, which is said below
            found[name] = _floats(flat, dtype).reshape(shape)
    if len(data) != end:
        raise ArtifactError(
            "the file is cut short" if len(data) < end else "the file has bytes after the tensor",
            where=where,
            got=f"{len(data)} tensor bytes",
            expected=f"{end}",
        )
    for array in found.values():
        check_finite(array, where)
    return found


def parse_metadata(content: bytes, where: str) -> dict[str, str]:
    """The texts in the header of a safetensors file whose tensors were parsed before.

    Raises:
        ArtifactError: as `parse_tensors`.
    """
    header, _ = _split_header(content, where)
    found = header.get("__metadata__", {})
    return {str(name): str(text) for name, text in found.items()}


def tensor_file(arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file with these arrays."""
    plain = {name: little_endian(array) for name, array in arrays.items()}
    return bytes(safetensors_numpy.save(plain, dict(metadata)))


def little_endian(array: Array) -> Array:
    """Its numbers in the order and form that files have them in."""
    return np.ascontiguousarray(array, dtype="<f4")


def check_finite(array: Array, where: str) -> None:
    """
    Raises:
        ArtifactError: any number is NaN or infinite.
    """
    if nan := int(np.isnan(array).sum()):
        raise ArtifactError("the prompt's vectors contain NaN", where=where, got=f"{nan} of them")
    if infinite := int(np.isinf(array).sum()):
        raise ArtifactError(
            "the prompt's vectors contain infinity", where=where, got=f"{infinite} of them"
        )


def _floats(content: bytes, dtype: str) -> Array:
    """A writable copy as float32. A bfloat16 is the upper half of a float32."""
    if dtype == "BF16":
        upper = np.frombuffer(content, dtype="<u2").astype(np.uint32)
        return (upper << 16).view(np.float32)
    return np.frombuffer(content, dtype="<f4" if dtype == "F32" else "<f2").astype(np.float32)


def _split_header(content: bytes, where: str) -> tuple[dict[str, Any], bytes]:
    if content.startswith(PICKLE_STARTS):
        raise ArtifactError(
            "a pickle file instead of safetensors; pickles can run code and are never opened",
            where=where,
            expected="a safetensors file",
        )
    if len(content) < 8:
        raise ArtifactError(
            "the file is cut short", where=where, got=f"{len(content)} bytes", expected="a header"
        )
    length = int.from_bytes(content[:8], "little")
    if length > MAX_HEADER_BYTES:
        raise ArtifactError(
            "the header is too large",
            where=where,
            got=f"{length} bytes",
            expected=f"at most {MAX_HEADER_BYTES} bytes",
        )
    if length > len(content) - 8:
        raise ArtifactError(
            "the file is cut short inside its header",
            where=where,
            got=f"{len(content)} bytes",
            expected=f"at least {length + 8} bytes",
        )
    return parse_json(content[8 : 8 + length], f"{where} (header)"), content[8 + length :]


def _entries(
    header: dict[str, Any], where: str, names: Collection[str]
) -> dict[str, tuple[str, list[Any], list[Any]]]:
    """Type, shape and place of each tensor, in the order of their places."""
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ArtifactError("malformed metadata in the header", where=where, expected="text values")
    if set(header) != set(names):
        raise ArtifactError(
            f"the file does not hold exactly the prompt's tensor{'s' * (len(names) > 1)}",
            where=where,
            got=", ".join(sorted(header)[:5]) or "no tensor",
            expected=", ".join(names),
        )
    found = {name: _entry(header[name], where) for name in names}
    return dict(sorted(found.items(), key=lambda item: _begin(item[1][2])))


def _entry(entry: Any, where: str) -> tuple[str, list[Any], list[Any]]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ArtifactError(
            "malformed tensor entry in the header",
            where=where,
            got=entry,
            expected="dtype, shape and data_offsets",
        )
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or not isinstance(shape, list) or not isinstance(offsets, list):
        raise ArtifactError("malformed tensor entry in the header", where=where, got=entry)
    return dtype, shape, offsets


def _begin(offsets: list[Any]) -> int:
    return offsets[0] if offsets and type(offsets[0]) is int else 0


def _check_shape(shape: list[Any], where: str, rank: int) -> None:
    if len(shape) != rank:
        raise ArtifactError(
            "the tensor is not a matrix"
            if rank == 2
            else "the tensor has the wrong number of dimensions",
            where=where,
            got=f"shape {shape}",
            expected="[vectors, hidden size]" if rank == 2 else f"{rank} axes",
        )
    limits = (MAX_VECTORS,) * (rank - 1) + (MAX_WIDTH,)
    for size, limit in zip(shape, limits, strict=True):
        if type(size) is not int or not 1 <= size <= limit:
            raise ArtifactError(
                "the tensor's shape is out of bounds",
                where=where,
                got=f"shape {shape}",
                expected=f"1 to {limits[0]} vectors of 1 to {limits[-1]} numbers",
            )
