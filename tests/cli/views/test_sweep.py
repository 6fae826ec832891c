"""What a sweep looks like on a terminal and elsewhere."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from cuecard.cli.views.sweep import SweepView
from cuecard.methods import PromptTuning
from cuecard.training import SweepConfig, TrainConfig
from cuecard.training.sweep import sweep
from support.data.reviews import review_task
from support.tiny import tiny_backbone


@pytest.fixture(scope="module")
def events() -> list[dict[str, Any]]:
    """Those of a real sweep with a trial that diverges."""
    found: list[dict[str, Any]] = []
    space = SweepConfig(grid={"lr": (0.01, 0.1, 1e30)})
    config = TrainConfig(steps=60, batch_rows=4, weight_decay=1.0, warmup=0)
    method = PromptTuning(length=4, init="random")
    sweep(tiny_backbone(), review_task(60), space, method, config, observer=found.append)
    return found


def show(events: list[dict[str, Any]], **options: Any) -> str:
    out = Console(file=io.StringIO(), width=110, highlight=False, **options)
    seconds = iter(range(10_000))
    with SweepView(out=out, clock=lambda: float(next(seconds))) as view:
        for event in events:
            view(event)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def test_lines_where_there_is_no_terminal(events: list[dict[str, Any]]) -> None:
    lines = show(events).splitlines()
    assert lines[0] == "Sweep: 3 trials, up to 3 in one pass"
    assert any(line.startswith("#2 lr 1e+30: ") and line.endswith(", diverged") for line in lines)
    assert any("1 of 3 trials done, 2 running: 100 steps, " in line for line in lines)
    assert any(line.startswith("Testing on ") for line in lines)
    assert "\x1b" not in "".join(lines)


def test_a_bar_on_a_terminal(events: list[dict[str, Any]]) -> None:
    shown = show(events, force_terminal=True, force_interactive=True)
    assert "\x1b" in shown and "best loss" in shown and "of 3 trials done" in shown


def test_a_resumed_sweep_says_so() -> None:
    event = {"event": "sweep", "trials": 9, "together": 3, "done": 4, "started": 6}
    assert "resuming after 4 of 9 trials" in show([event])
