"""`cuecard sweep` in a process of its own, on a tiny backbone in a folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from command_line import ended, save_tiny
from tickets import Run, tickets

pytestmark = pytest.mark.integration


def test_stopped_killed_and_gone_on_with(
    cuecard: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "tickets.csv").write_text(tickets())
    save_tiny(tmp_path / "tiny")
    words = ["sweep", "tickets.csv", "--steps", "300", "--batch-rows", "4", "--no-compare"]
    words += ["--backbone", "tiny", "--length", "4", "--init", "random"]
    words += ["--grid", "lr=0.003,0.03", "--grid", "seed=0,1", "--together", "3"]
    out = tmp_path / "runs" / "tickets-sweep"
    for number, words_now in ((signal.SIGINT, words), (signal.SIGKILL, ["sweep", "--resume", out])):
        child = subprocess.Popen(
            [sys.executable, "-m", "cuecard", *map(str, words_now)],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        # The first one dies in the first three trials, the second one in the fourth.
        log = out / "trials" / ("001" if number == signal.SIGINT else "003") / "log.jsonl"
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and not (
            log.exists() and '"step": 30,' in log.read_text()
        ):
            time.sleep(0.05)
        os.kill(child.pid, number)
        errors = ended(child)
        if number == signal.SIGINT:
            assert child.returncode == 130, errors
            assert "cuecard sweep --resume runs/tickets-sweep" in errors
        else:
            assert child.returncode == -9
    done = cuecard("sweep", "--resume", "runs/tickets-sweep", cwd=tmp_path)
    assert "chosen on validation rows" in done.stdout
    cuecard(*words, "--out", "runs/whole", cwd=tmp_path)
    cut, whole = (
        json.loads((tmp_path / "runs" / name / "sweep.json").read_text())
        for name in ("tickets-sweep", "whole")
    )
    assert cut["best"][0]["digest"] == whole["best"][0]["digest"]
    assert [t["loss"] for t in cut["trials"]] == [t["loss"] for t in whole["trials"]]
    best = "runs/tickets-sweep/best"
    said = cuecard("predict", best, "my card was declined", "--json", cwd=tmp_path).stdout
    assert json.loads(said)
    (tmp_path / "more.csv").write_text(tickets(60).replace("this week", "last week"))
    assert "accuracy" in cuecard("eval", best, "more.csv", cwd=tmp_path).stdout
    assert "tiny" in cuecard("inspect", best, cwd=tmp_path).stdout
