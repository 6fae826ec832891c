"""The README's commands, run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tickets import tickets

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def block(after: str, language: str) -> str:
    part = README.split(after, 1)[1]
    found = re.search(rf"```{language}\n(.*?)```", part, re.DOTALL)
    assert found is not None
    return found.group(1)


def test_the_two_commands_are_targets() -> None:
    commands = [line.split("#")[0].split() for line in block("# cuecard", "sh").splitlines()]
    assert commands == [["make", "demo"], ["make", "test"]]
    for _, target in commands:
        plan = subprocess.run(
            ["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        assert {"demo": "cuecard demo", "test": "pytest"}[target] in plan


@pytest.mark.slow
@pytest.mark.integration
def test_your_own_data(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "tickets.csv").write_text(tickets())
    (tmp_path / "more-tickets.csv").write_text(tickets(45).replace("this week", "last week"))
    bin_folder = Path(sys.executable).parent
    lines = block("## Your own data", "sh").splitlines()
    script = "\n".join(line for line in lines if "activate" not in line)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=environment | {"PATH": f"{bin_folder}:{environment['PATH']}"},
        capture_output=True,
        text=True,
        timeout=850,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "runs/tickets/report.md").is_file()
    assert "billing" in done.stdout


@pytest.mark.slow
@pytest.mark.integration
def test_the_library_example(tmp_path: Path, environment: dict[str, str]) -> None:
    rows = ["text,label"]
    for number in range(60):
        good = number % 2
        text = f"{'a lovely warm film' if good else 'a dull and lifeless mess'} {number}"
        rows.append(f"{text},{'positive' if good else 'negative'}")
    (tmp_path / "reviews.csv").write_text("\n".join(rows) + "\n")
    code = block("## As a library", "python")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=850,
    )
    assert done.returncode == 0, done.stderr
    assert "negative" in done.stdout
    assert (tmp_path / "reviews" / "prompt.json").is_file()
