from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from support.board_runs import save_run
from support.command_line import ended, run_in_process


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_and_ends(how: signal.Signals, tmp_path: Path) -> None:
    save_run(tmp_path / "runs" / "reviews")
    command = [sys.executable, "-m", "cuecard", "board", "runs", "--port", "0", "--json"]
    child = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        url = json.loads(child.stdout.readline())["url"]
        with urlopen(f"{url}/?format=json") as answer:
            assert [run["name"] for run in json.load(answer)["runs"]] == ["reviews"]
        child.send_signal(how)
        errors = ended(child)
    finally:
        child.kill()
    assert (child.returncode, errors) == (0, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--host", "0.0.0.0"), "refusing to listen on a public address without API keys"),
        (("--keys", "missing.json"), "cannot read the key file"),
        (("--host", "192.0.2.1", "--keys", "missing.json"), "cannot read the key file"),
    ],
)
def test_what_is_refused(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run_in_process(capsys, "board", "--port", "0", *words)
    assert done.code == 2 and said in done.err
