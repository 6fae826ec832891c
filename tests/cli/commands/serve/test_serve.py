"""What is told before a server starts; tests/serving/test_server.py has the rest."""

from __future__ import annotations

import socket
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from cuecard.registry.registry import MARKER
from support.command_line import Call


def empty(folder: Path) -> Path:
    """A registry without a prompt."""
    (folder / MARKER).write_text("{}")
    return folder


def test_without_the_extra(cuecard: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(import_module("cuecard.serving"), "server", raising=False)
    monkeypatch.setitem(sys.modules, "cuecard.serving.server", None)
    done = cuecard("serve", "--backbone", "nowhere")
    assert done.code == 2
    assert "pip install 'cuecard[serve]'" in done.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--host", "0.0.0.0"], "refusing to listen on a public address without API keys"),
        (["--host", "::", "--registry", "nowhere"], "without API keys"),
        (["--keys", "nowhere.json"], "cannot read the key file"),
        (["--registry", "nowhere"], "no registry"),
        (["--quotas", "redis://127.0.0.1:9"], "--keys FILE"),
        (["--cors", "app.example.com"], "https://HOST"),
        (["--cors", "https://app.example.com/"], "https://HOST"),
        (["--cors", "https://*.example.com"], "https://HOST"),
        (["--system-messages", "drop"], "--system-messages"),
        (["--engine", "other"], "--engine"),
        (["--engine", "vllm", "--device", "cpu"], "--device"),
        (["--engine", "vllm", "--adapter", "lora"], "--engine local"),
        pytest.param(
            ["--engine", "vllm"],
            "vLLM is not installed",
            marks=pytest.mark.skipif(find_spec("vllm") is not None, reason="vllm is installed"),
        ),
        (["--port", "70000"], "--port"),
        ([], "unknown backbone"),
    ],
)
def test_mistakes(cuecard: Call, tmp_path: Path, words: list[str], told: str) -> None:
    """All but the last are told before a model is looked for."""
    done = cuecard(
        "serve", "--backbone", "no where", "--port", "0", "--registry", empty(tmp_path), *words
    )
    assert done.code == 2
    assert told in done.err


def test_an_address_that_is_taken_is_told_before_a_model_is_loaded(
    cuecard: Call, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ["--registry", empty(tmp_path), "--port", port]
        done = cuecard("serve", "--backbone", "no where", *words)
    assert done.code == 2
    assert "cannot listen on this address" in done.err


def test_a_backbone_has_to_be_named(cuecard: Call) -> None:
    done = cuecard("serve")
    assert done.code == 2
    assert "--backbone" in done.err


def test_the_old_name_of_prefix_caching_still_reads(cuecard: Call, tmp_path: Path) -> None:
    words = ["--registry", empty(tmp_path), "--port", "0", "--no-beginnings"]
    done = cuecard("serve", "--backbone", "no where", *words)
    assert "unknown backbone" in done.err and "--no-prefix-caching" in done.err
