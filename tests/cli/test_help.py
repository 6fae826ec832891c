"""Every command says what it does, shows an example, and tells its exit codes."""

from __future__ import annotations

import re

import pytest

from command_line import Call
from cuecard.cli.main import app

COMMANDS = [str(command.name) for command in app.registered_commands]


@pytest.mark.parametrize("command", COMMANDS)
def test_help(cuecard: Call, command: str) -> None:
    done = cuecard(command, "--help")
    assert done.code == 0
    assert re.search(rf"Example: cuecard {command}\b", done.out)
    assert "Exit codes: 0" in done.out
    assert "--json" in done.out


def test_no_command_shows_the_commands(cuecard: Call) -> None:
    shown = cuecard().out
    assert all(command in shown for command in COMMANDS)
