"""Calls from Python show how far they are where somebody looks, and are silent elsewhere."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from cuecard.methods import PromptTuning
from cuecard.progress_bar import ProgressBar, is_interactive
from cuecard.training import TrainConfig
from cuecard.training.train import train
from support.data.reviews import review_task
from support.tiny import tiny_backbone


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(**options: Any) -> None:
    config = TrainConfig(steps=3, batch_rows=4, eval_every=2)
    train(
        tiny_backbone(), review_task(60), PromptTuning(length=2, init="random"), config, **options
    )


def test_a_terminal_sees_a_bar_with_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    run()
    text = shown.getvalue()
    assert text.startswith("\rpreparing") and "training" in text and "testing" in text
    assert "3/3" in text and "loss=" in text and "validation=" in text


def test_trying_rates_does_not_lose_the_number_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    with ProgressBar() as bar:
        for event in (
            {"event": "start", "steps": 40},
            {"event": "lr", "lr": 0.1, "loss": 1.0},
            {"event": "step", "step": 7, "loss": 0.5},
        ):
            bar(event)
    assert "7/40" in shown.getvalue()


@pytest.mark.parametrize("options", [{"progress": False}, {"observer": lambda event: None}])
def test_silence_on_request(monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    run(**options)
    assert shown.getvalue() == ""


def test_nobody_looks_at_a_file_and_somebody_at_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not is_interactive()
    monkeypatch.setattr(sys, "stderr", None)
    assert not is_interactive()
    shell = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert is_interactive()
