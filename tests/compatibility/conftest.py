"""The command line as a call."""

from __future__ import annotations

from functools import partial

import pytest

from support.command_line import Call, run_in_process


@pytest.fixture
def cuecard(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command as the shell does, in this process."""
    monkeypatch.setenv("COLUMNS", "160")
    return partial(run_in_process, capsys)
