"""The converter of decoders: the same logits, the same tokens, the same bytes every time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from cuecard.catalogue.progress import silent
from cuecard.catalogue.weights.gguf import GgufFile, read_gguf
from cuecard.catalogue.weights.gguf_decoder import LLAMA, QWEN2, convert_gguf
from cuecard.errors import CatalogueError


@pytest.fixture
def folder(tiny_gguf: Path, tmp_path: Path) -> Path:
    target = tmp_path / "converted"
    target.mkdir()
    convert_gguf(LLAMA, tiny_gguf, target, silent, "Converting")
    return target


def test_model_gives_the_original_logits(folder: Path, tiny_llama: Any) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.arange(40).reshape(2, 20) * 5
    with torch.inference_mode():
        assert torch.equal(model(ids).logits, tiny_llama(ids).logits)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


def test_weights_are_stored_in_bfloat16(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert "lm_head.weight" not in tensors


def test_config_has_the_authors_numbers(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert config["rms_norm_eps"] == 1e-5
    assert config["rope_theta"] == 10000.0
    assert config["vocab_size"] == 272
    assert config["num_key_value_heads"] == 2
    assert config["tie_word_embeddings"] is True
    assert "quantization_config" not in config


def test_tokenizer_splits_digits_and_keeps_every_byte(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.is_fast
    assert tokenizer.tokenize("a good  12") == ["a", "Ġgood", "ĠĠ", "1", "2"]
    for text in ("naïve ☕\n\t x", "1 2  345", "it's é½²", ""):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode("<|im_start|>a") == [1, *tokenizer.encode("a")]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)
    assert tokenizer.model_max_length == 128
    chat = [{"role": "user", "content": "hello"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == "hello"


def test_bytes_are_the_same_every_time(folder: Path, tiny_gguf: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    convert_gguf(LLAMA, tiny_gguf, again, silent, "Converting")
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(path.name for path in again.iterdir())
    assert len(names) == 5
    for name in names:
        assert (folder / name).read_bytes() == (again / name).read_bytes(), name


def test_progress_counts_the_tensors(tiny_gguf: Path, tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    convert_gguf(LLAMA, tiny_gguf, tmp_path, lambda *call: calls.append(call), "Converting it")
    total = len(read_gguf(tiny_gguf).shapes)
    assert calls == [("Converting it", done, total) for done in range(1, total + 1)]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("general.architecture", "mamba"),
        ("tokenizer.ggml.model", "llama"),
        ("tokenizer.ggml.pre", "qwen2"),
        ("tokenizer.ggml.add_bos_token", True),
    ],
)
def test_another_kind_is_refused(
    tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: object
) -> None:
    file = read_gguf(tiny_gguf)
    changed = GgufFile(
        file.path, {**file.metadata, key: value}, file.shapes, file._headers, file._data
    )
    monkeypatch.setattr("cuecard.catalogue.weights.gguf_decoder.read_gguf", lambda path: changed)
    with pytest.raises(CatalogueError, match="not converted") as caught:
        convert_gguf(LLAMA, tiny_gguf, tmp_path, silent, "Converting")
    assert caught.value.where == f"tiny.gguf, {key}"
    assert caught.value.got == str(value)


def test_tensor_without_a_place_is_refused(
    tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = read_gguf(tiny_gguf)
    shapes = {**file.shapes, "blk.0.attn_q.bias": (4,)}
    changed = GgufFile(file.path, file.metadata, shapes, file._headers, file._data)
    monkeypatch.setattr("cuecard.catalogue.weights.gguf_decoder.read_gguf", lambda path: changed)
    with pytest.raises(CatalogueError, match="no place for") as caught:
        convert_gguf(LLAMA, tiny_gguf, tmp_path, silent, "Converting")
    assert caught.value.got == "blk.0.attn_q.bias"


@pytest.fixture
def qwen2(tiny_qwen2_gguf: Path, tmp_path: Path) -> Path:
    target = tmp_path / "qwen2"
    target.mkdir()
    convert_gguf(QWEN2, tiny_qwen2_gguf, target, silent, "Converting")
    return target


def test_qwen2_gives_the_original_logits(qwen2: Path, tiny_qwen2: Any) -> None:
    """With its biases, and with the finer of the two copies of its embeddings."""
    model = AutoModelForCausalLM.from_pretrained(qwen2, dtype=torch.float32)
    ids = torch.arange(40).reshape(2, 20) * 5
    with torch.inference_mode():
        assert torch.equal(model(ids).logits, tiny_qwen2(ids).logits)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert model.generation_config.eos_token_id == [2, 0]


def test_qwen2_tokenizer_splits_as_its_authors_do(qwen2: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(qwen2)
    assert len(tokenizer) == 265  # not what only fills the embeddings up
    core = Tokenizer.from_file(str(qwen2 / "tokenizer.json"))
    pieces = [piece for piece, _ in core.pre_tokenizer.pre_tokenize_str("It'S 12 (good!)\n x")]
    assert pieces == ["It", "'S", "Ġ", "1", "2", "Ġ(", "good", "!)Ċ", "Ġx"]
    for text in ("naïve ☕\n\t x", "1 2  345", "it's é½²", ""):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    # Composed and decomposed accents are one; what is not special stays when special tokens go.
    assert tokenizer.encode("e\u0301") == tokenizer.encode("\u00e9")
    ids = tokenizer.encode("<|im_start|><tool_call>")
    assert (ids, tokenizer.decode(ids, skip_special_tokens=True)) == ([1, 264], "<tool_call>")


def test_output_that_is_another_matrix_is_refused(
    tiny_qwen2_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = read_gguf(tiny_qwen2_gguf)
    elsewhere = replace(file._headers["output.weight"], offset=0)
    headers = {**file._headers, "output.weight": elsewhere}
    changed = GgufFile(file.path, file.metadata, file.shapes, headers, file._data)
    monkeypatch.setattr("cuecard.catalogue.weights.gguf_decoder.read_gguf", lambda path: changed)
    with pytest.raises(CatalogueError, match="an output that is not the embeddings"):
        convert_gguf(QWEN2, tiny_qwen2_gguf, tmp_path, silent, "Converting")
