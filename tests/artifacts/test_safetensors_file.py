"""Strict reading: each kind of bad file has its own refusal."""

import json
import os
import pickle
import struct
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save as torch_save

from cuecard.artifacts.files import read_plain_file
from cuecard.artifacts.safetensors_file import (
    MAX_HEADER_BYTES,
    TENSOR_NAME,
    parse_tensors,
)
from cuecard.errors import ArtifactError
from cuecard.plain_files import parse_json

VECTORS = torch.arange(12, dtype=torch.float32).reshape(3, 4)
GOOD = torch_save({TENSOR_NAME: VECTORS}, {"format": "pt"})


def parse_vectors(content: bytes, where: str, dtypes: Collection[str] = ("F32",)) -> torch.Tensor:
    arrays = parse_tensors(content, where, {TENSOR_NAME: 2}, dtypes)
    return torch.from_numpy(arrays[TENSOR_NAME])


def tensor_bytes(header: object, data: bytes = b"\0" * 48) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(**changes: object) -> dict[str, object]:
    return {TENSOR_NAME: {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48], **changes}}


def test_good_file_gives_its_vectors() -> None:
    assert torch.equal(parse_vectors(GOOD, "x"), VECTORS)
    assert torch.equal(parse_vectors(tensor_bytes(entry()), "x"), torch.zeros(3, 4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_only_where_asked_for(dtype: torch.dtype) -> None:
    content = torch_save({TENSOR_NAME: VECTORS.to(dtype)})
    with pytest.raises(ArtifactError, match="unsupported tensor type"):
        parse_vectors(content, "x")
    found = parse_vectors(content, "x", ("F32", "F16", "BF16"))
    assert found.dtype == torch.float32
    assert torch.equal(found, VECTORS)


OFFSETS = b'"data_offsets":[0,48]'
FAULTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "cut short"),
    "seven bytes": (GOOD[:7], "cut short"),
    "cut in the header": (GOOD[:30], "cut short inside its header"),
    "cut in the data": (GOOD[:-1], "cut short"),
    "bytes after the tensor": (GOOD + b"\0", "bytes after the tensor"),
    "oversized header": (struct.pack("<Q", MAX_HEADER_BYTES + 1) + b"{}", "header is too large"),
    "absurd header": (b"\xff" * 8 + b"{}", "header is too large"),
    "pickle": (pickle.dumps({"prompt_embeddings": [1.0]}), "pickle"),
    "zip (torch.save)": (b"PK\x03\x04" + b"\0" * 100, "pickle"),
    "header is no JSON": (tensor_bytes(b"{nonsense"), "broken JSON"),
    "header is a list": (tensor_bytes([]), "not a JSON object"),
    "header is not UTF-8": (tensor_bytes(b"\xff\xfe{}"), "not UTF-8"),
    "deep header": (tensor_bytes(b'{"a":' + b"[" * 200_000), "broken JSON"),
    "no tensor": (tensor_bytes({}, b""), "exactly the prompt's tensor"),
    "another name": (tensor_bytes({"weight": entry()[TENSOR_NAME]}), "exactly the prompt's"),
    "a path as name": (tensor_bytes({"../../x": entry()[TENSOR_NAME]}), "exactly the prompt's"),
    "one more tensor": (tensor_bytes({**entry(), "x": entry()[TENSOR_NAME]}), "exactly the"),
    "duplicate tensor": (
        tensor_bytes(b'{"prompt_embeddings":{},"prompt_embeddings":{}}'),
        "occurs twice",
    ),
    "metadata of numbers": (tensor_bytes({"__metadata__": {"a": 1}, **entry()}), "metadata"),
    "extra key in the entry": (tensor_bytes(entry(file="/etc/passwd")), "tensor entry"),
    "entry is a list": (tensor_bytes({TENSOR_NAME: []}), "tensor entry"),
    "shape is text": (tensor_bytes(entry(shape="3,4")), "tensor entry"),
    "integers": (tensor_bytes(entry(dtype="I32")), "unsupported tensor type"),
    "float64": (tensor_bytes(entry(dtype="F64")), "unsupported tensor type"),
    "a vector": (tensor_bytes(entry(shape=[12])), "not a matrix"),
    "three axes": (tensor_bytes(entry(shape=[3, 2, 2])), "not a matrix"),
    "no rows": (tensor_bytes(entry(shape=[0, 4], data_offsets=[0, 0]), b""), "out of bounds"),
    "negative": (tensor_bytes(entry(shape=[-3, -4])), "out of bounds"),
    "booleans": (tensor_bytes(entry(shape=[True, 12])), "out of bounds"),
    "too many rows": (tensor_bytes(entry(shape=[1 << 40, 4])), "out of bounds"),
    "shape and place differ": (tensor_bytes(entry(shape=[3, 5])), "offsets do not match"),
    "place beyond the file": (tensor_bytes(entry(data_offsets=[48, 96])), "offsets do not"),
    "hole before the tensor": (
        tensor_bytes(entry(data_offsets=[8, 56]), b"\0" * 56),
        "offsets do not match",
    ),
    "NaN": (torch_save({TENSOR_NAME: torch.full((3, 4), torch.nan)}), "contain NaN"),
    "infinity": (torch_save({TENSOR_NAME: VECTORS / 0}), "contain"),
    "minus infinity": (torch_save({TENSOR_NAME: torch.full((1, 2), -torch.inf)}), "infinity"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_tensor_file_is_refused(fault: str) -> None:
    content, message = FAULTS[fault]
    with pytest.raises(ArtifactError, match=message) as caught:
        parse_vectors(content, "the/file")
    assert "the/file" in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.integers(0, len(GOOD)))
def test_any_bytes_end_in_vectors_or_in_an_artifact_error(noise: bytes, at: int) -> None:
    for content in (noise, GOOD[:at] + noise + GOOD[at:], GOOD[:at] + noise):
        try:
            found = parse_vectors(content, "x")
        except ArtifactError:
            continue
        assert found.ndim == 2
        assert bool(found.isfinite().all())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a": 1, "a": 1}', "occurs twice"),
        (b'{"b": {"a": 1, "a": 2}}', "occurs twice"),
        (b'{"a": NaN}', "not finite"),
        (b'{"a": -Infinity}', "not finite"),
        (b'{"a": 1e999}', "not finite"),
        (b"[1]", "not a JSON object"),
        (b'{"a": 1} x', "broken JSON"),
        (b'\xef\xbb\xbf{"a": 1}', "broken JSON"),
        (b"{" + b'"a": {' * 100_000, "broken JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "broken JSON"),
        (b"\xff", "not UTF-8"),
        (b"", "broken JSON"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_bad_json_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        parse_json(text, "x.json")


def test_plain_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1234")
    assert read_plain_file(tmp_path, "a", 4) == b"1234"
    with pytest.raises(ArtifactError, match="too large") as caught:
        read_plain_file(tmp_path, "a", 3)
    assert caught.value.got == "4 bytes"


@pytest.mark.parametrize("target", ["outside", "inside", "dangling"])
def test_links_are_not_followed(tmp_path: Path, target: str) -> None:
    folder = tmp_path / "prompt"
    folder.mkdir()
    (tmp_path / "outside").write_bytes(b"secret")
    (folder / "inside").write_bytes(b"{}")
    places = {"outside": "../outside", "inside": "inside", "dangling": "nowhere"}
    (folder / "prompt.json").symlink_to(places[target])
    with pytest.raises(ArtifactError, match="links are not followed"):
        read_plain_file(folder, "prompt.json", 100)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_and_folders_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(ArtifactError, match="not a plain file"):
            read_plain_file(tmp_path, name, 100)


def test_a_missing_file_says_what_the_folder_looks_like(tmp_path: Path) -> None:
    def message(folder: Path, name: str = "prompt.json") -> str:
        with pytest.raises(ArtifactError) as caught:
            read_plain_file(folder, name, 100)
        return str(caught.value)

    assert "no such prompt folder" in message(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    assert "not a prompt folder" in message(tmp_path / "file")
    assert "expected: prompt.json" in message(tmp_path)
    (tmp_path / "run" / "prompt").mkdir(parents=True)
    (tmp_path / "run" / "prompt" / "prompt.json").write_text("{}")
    assert f"did you mean {tmp_path / 'run' / 'prompt'}?" in message(tmp_path / "run")
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "made by PEFT" in message(tmp_path)
    (tmp_path / "adapter_model.bin").write_bytes(b"")
    assert "never opened" in message(tmp_path, "adapter_model.safetensors")


def test_numpy_reads_the_same_bytes() -> None:
    found = parse_vectors(GOOD, "x").numpy()
    assert np.array_equal(found, np.frombuffer(GOOD[-48:], "<f4").reshape(3, 4))
