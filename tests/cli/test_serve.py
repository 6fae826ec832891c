"""What is told before a server starts; tests/serving/test_server.py has the rest."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec

import pytest

from command_line import Call


def test_without_the_extra(cuecard: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(import_module("cuecard.serving"), "server", raising=False)
    monkeypatch.setitem(sys.modules, "cuecard.serving.server", None)
    done = cuecard("serve", "--backbone", "nowhere")
    assert done.code == 2
    assert "pip install 'cuecard[serve]'" in done.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--host", "0.0.0.0"], "no keys are asked for"),
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
def test_mistakes(cuecard: Call, words: list[str], told: str) -> None:
    done = cuecard("serve", "--backbone", "no where", *words)
    assert done.code == 2
    assert told in done.err


def test_a_backbone_has_to_be_named(cuecard: Call) -> None:
    done = cuecard("serve")
    assert done.code == 2
    assert "--backbone" in done.err
