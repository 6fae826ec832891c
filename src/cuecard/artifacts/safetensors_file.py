"""Strict reading of a prompt's files, which somebody else may have written.

How a file is read at all: `plain_files.py`. The tensor format is
https://github.com/huggingface/safetensors: an 8-byte little-endian header length, a JSON header,
then the raw tensors.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cuecard.errors import ArtifactError
from cuecard.lazy import torch
from cuecard.plain_files import PICKLE_STARTS, read_bytes
from cuecard.plain_files import parse_json as parse_json

if TYPE_CHECKING:
    from torch import Tensor

TENSOR_NAME = "prompt_embeddings"
MAX_JSON_BYTES = 1 << 20
MAX_HEADER_BYTES = 1 << 20
MAX_TENSOR_BYTES = 1 << 30
MAX_VECTORS = 4096
MAX_HIDDEN_SIZE = 1 << 16
MAX_WIDTH = 1 << 20  # of keys and values of all layers side by side
_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def read_plain_file(folder: Path, name: str, max_bytes: int) -> bytes:
    """The bytes of `folder/name`, which must be a plain file, not a link, within max_bytes.

    Raises:
        ArtifactError: the file is missing, a link, not a plain file, too large or unreadable.
    """
    try:
        return read_bytes(folder / name, max_bytes, "prompt")
    except FileNotFoundError:
        raise _missing(folder, name) from None


def parse_vectors(content: bytes, where: str, dtypes: Collection[str] = ("F32",)) -> Tensor:
    """The [P, H] float32 tensor of a safetensors file that holds a prompt's vectors alone.

    Raises:
        ArtifactError: as `parse_tensors`.
    """
    return parse_tensors(content, where, {TENSOR_NAME: 2}, dtypes)[TENSOR_NAME]


def parse_tensors(
    content: bytes, where: str, ranks: Mapping[str, int], dtypes: Collection[str] = ("F32",)
) -> dict[str, Tensor]:
    """The tensors of a prompt's safetensors file.

    Args:
        content: the whole file.
        where: the file's path, for messages.
        ranks: the tensors that must be there, and no other, with their numbers of axes.
        dtypes: the safetensors dtypes to accept, of F32, F16 and BF16.

    Returns:
        By name, float32, finite, on the CPU.

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
                "a tensor of the wrong type", where=where, got=dtype, expected=" or ".join(dtypes)
            )
        _check_shape(shape, where, ranks[name])
        kind: torch.dtype = getattr(torch, _DTYPES[dtype])
        start, end = end, end + math.prod(shape) * kind.itemsize
        if offsets != [start, end]:
            raise ArtifactError(
                "the tensor's place does not match its shape",
                where=where,
                got=offsets,
                expected=[start, end],
            )
        flat = bytearray(data[start:end])
        if len(flat) == end - start:  # else the file is too short, which is said below
            found[name] = torch.frombuffer(flat, dtype=kind).reshape(shape).float()
    if len(data) != end:
        raise ArtifactError(
            "the file is cut short" if len(data) < end else "the file has bytes after the tensor",
            where=where,
            got=f"{len(data)} tensor bytes",
            expected=f"{end}",
        )
    for tensor in found.values():
        check_finite(tensor, where)
    return found


def check_finite(vectors: Tensor, where: str) -> None:
    """Raises ArtifactError if any number is NaN or infinite."""
    if nan := int(vectors.isnan().sum()):
        raise ArtifactError("the prompt's vectors contain NaN", where=where, got=f"{nan} of them")
    if infinite := int(vectors.isinf().sum()):
        raise ArtifactError(
            "the prompt's vectors contain infinity", where=where, got=f"{infinite} of them"
        )


def _split_header(content: bytes, where: str) -> tuple[dict[str, Any], bytes]:
    if content.startswith(PICKLE_STARTS):
        raise ArtifactError(
            "a pickle where safetensors belong; pickles can run code and are never opened",
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
            "the header claims to be too large",
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
        raise ArtifactError("broken metadata in the header", where=where, expected="text values")
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
            "broken tensor entry in the header",
            where=where,
            got=entry,
            expected="dtype, shape and data_offsets",
        )
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or not isinstance(shape, list) or not isinstance(offsets, list):
        raise ArtifactError("broken tensor entry in the header", where=where, got=entry)
    return dtype, shape, offsets


def _begin(offsets: list[Any]) -> int:
    return offsets[0] if offsets and type(offsets[0]) is int else 0


def _check_shape(shape: list[Any], where: str, rank: int) -> None:
    if len(shape) != rank:
        raise ArtifactError(
            "the tensor is not a matrix" if rank == 2 else "a tensor with other axes",
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


def _missing(folder: Path, name: str) -> ArtifactError:
    hint = None
    if not folder.exists():
        return ArtifactError("no such prompt folder", where=str(folder))
    if not folder.is_dir():
        return ArtifactError("not a prompt folder", where=str(folder), expected="a folder")
    if (folder / "prompt" / name).is_file():
        hint = f"did you mean {folder / 'prompt'}?"
    elif (folder / "adapter_config.json").is_file() and name == "prompt.json":
        hint = "this looks like an adapter made by PEFT: import it with the task it was made for"
    elif (folder / "adapter_model.bin").exists():
        hint = "pickled weights (.bin) are never opened; save the adapter again as safetensors"
    return ArtifactError(
        "a file of the prompt is missing", where=str(folder), expected=name, hint=hint
    )
