"""The GGUF reader, against the format's reference package."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from cuecard.catalogue.weights.gguf import read_gguf
from cuecard.errors import CatalogueError

KINDS = {
    "f32": gguf.GGMLQuantizationType.F32,
    "f16": gguf.GGMLQuantizationType.F16,
    "q4_1": gguf.GGMLQuantizationType.Q4_1,
    "q5_0": gguf.GGMLQuantizationType.Q5_0,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
}
# The reference package reads these and does not write them.
SUPER_KINDS = {"q4_k": gguf.GGMLQuantizationType.Q4_K, "q6_k": gguf.GGMLQuantizationType.Q6_K}


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A file with one tensor [3, 64] of each kind and metadata of every kind."""
    path = tmp_path / "sample.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint8("small", 7)
    writer.add_int16("signed", -300)
    writer.add_uint64("large", 2**40)
    writer.add_float32("float", 0.5)
    writer.add_float64("double", 0.1)
    writer.add_bool("flag", True)
    writer.add_string("text", "naïve ☕")
    writer.add_array("words", ["a", "", "ß"])
    writer.add_array("numbers", [1, -2, 3])
    values = np.random.default_rng(5).normal(size=(3, 64)).astype(np.float32)
    for name, kind in KINDS.items():
        packed = gguf.quants.quantize(values, kind)
        writer.add_tensor(name, packed, raw_dtype=kind)
    for name, kind in SUPER_KINDS.items():
        size = gguf.GGML_QUANT_SIZES[kind][1]
        writer.add_tensor(name, random_blocks(kind, size, 6), raw_dtype=kind)
    writer.add_tensor("odd", values, raw_dtype=gguf.GGMLQuantizationType.I32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def random_blocks(kind: gguf.GGMLQuantizationType, size: int, rows: int) -> np.ndarray:
    """Rows of two blocks with arbitrary bytes and scales that are numbers."""
    draw = np.random.default_rng(kind.value)
    blocks = draw.integers(0, 256, (rows * 2, size), np.uint8)
    scales = draw.normal(size=(rows * 2, 2)).astype("<f2").view(np.uint8)
    if kind == gguf.GGMLQuantizationType.Q4_K:
        blocks[:, :4] = scales
    else:
        blocks[:, -2:] = scales[:, :2]
    return blocks.reshape(rows, 2 * size)


def test_metadata_of_every_kind(sample: Path) -> None:
    metadata = read_gguf(sample).metadata
    assert metadata["general.architecture"] == "llama"
    assert metadata["small"] == 7
    assert metadata["signed"] == -300
    assert metadata["large"] == 2**40
    assert metadata["float"] == 0.5
    assert metadata["double"] == 0.1
    assert metadata["flag"] is True
    assert metadata["text"] == "naïve ☕"
    assert metadata["words"] == ["a", "", "ß"]
    assert metadata["numbers"] == [1, -2, 3]


@pytest.mark.parametrize("piece", [5, 1 << 16])
@pytest.mark.parametrize("kind", [*KINDS, *SUPER_KINDS])
def test_tensor_equals_the_reference(
    sample: Path, kind: str, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cuecard.catalogue.weights.gguf._PIECE", piece)
    shape = (3, 64) if kind in KINDS else (6, 512)
    reference = next(tensor for tensor in gguf.GGUFReader(sample).tensors if tensor.name == kind)
    expected = gguf.quants.dequantize(reference.data, reference.tensor_type).reshape(shape)
    file = read_gguf(sample)
    found = file.tensor(kind)
    assert file.shapes[kind] == found.shape == shape
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


def test_unknown_tensor_and_type(sample: Path) -> None:
    file = read_gguf(sample)
    with pytest.raises(CatalogueError, match="no tensor other"):
        file.tensor("other")
    with pytest.raises(CatalogueError, match="odd has ggml type 26"):
        file.tensor("odd")


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"PK\x03\x04" + bytes(60), "it begins with b'PK"),
        (struct.pack("<4sIQQ", b"GGUF", 1, 0, 0), "version 1"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 1), "struct.error|error: unpack"),
        (struct.pack("<4sIQQQ", b"GGUF", 3, 0, 1, 2**62), "ValueError: a string"),
        (struct.pack("<4sIQQQ1sI", b"GGUF", 3, 0, 1, 1, b"k", 77), "KeyError: 77"),
        (struct.pack("<4sIQQQ1sIIQ", b"GGUF", 3, 0, 1, 1, b"k", 9, 0, 2**60), "an array"),
        (b"", "ValueError"),
    ],
)
def test_file_that_is_not_gguf(tmp_path: Path, start: bytes, message: str) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(start)
    with pytest.raises(CatalogueError, match=message) as caught:
        read_gguf(path)
    assert caught.value.where == "bad.gguf"


def read_all(path: Path) -> None:
    file = read_gguf(path)
    for kind in (*KINDS, *SUPER_KINDS):
        file.tensor(kind)


def test_file_cut_short_anywhere(sample: Path, tmp_path: Path) -> None:
    read_all(sample)
    end = sample.read_bytes().rindex(b"odd")  # the headers' end; the last tensor is not read
    path = tmp_path / "cut.gguf"
    for length in (*range(0, end, 13), end + 100, end + 900):
        path.write_bytes(sample.read_bytes()[:length])
        with pytest.raises(CatalogueError):
            read_all(path)
