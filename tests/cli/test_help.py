"""Every command says what it does, shows an example, and tells its exit codes."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import cuecard as package
from cuecard.cli.main import COMMANDS, function_of
from support.command_line import Call


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


@pytest.mark.parametrize("command", COMMANDS)
def test_the_list_says_what_the_command_says(command: str) -> None:
    module, text = COMMANDS[command]
    told = function_of(module).__doc__
    assert told
    assert " ".join(told.split("\n\n")[0].split()) == text


def test_version(cuecard: Call) -> None:
    assert cuecard("--version").out == f"cuecard {package.__version__}\n"


@pytest.mark.parametrize("words", [[], ["--help"], ["tarin"]])
def test_help_waits_for_no_heavy_import(words: list[str]) -> None:
    code = (
        "import sys\n"
        "from cuecard.cli.main import main\n"
        "try:\n"
        f"    main({words!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        "sys.exit(', '.join(sys.modules.keys() & {'torch', 'rich', 'yaml'}) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0


def test_every_public_name_is_there() -> None:
    assert set(package.__all__) <= set(dir(package))
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = package.nothing_of_the_kind
