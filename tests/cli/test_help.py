"""Every command says what it does, shows an example, and tells its exit codes."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import cuecard as package
from cuecard.cli.main import COMMANDS, FAMILIES, function_of
from support.command_line import Call


@pytest.mark.parametrize("command", COMMANDS)
def test_help(cuecard: Call, command: str) -> None:
    done = cuecard(*command.split(), "--help")
    assert done.code == 0
    assert re.search(rf"Example: cuecard {command}\b", done.out)
    assert "Exit codes: 0" in done.out
    assert "--json" in done.out


def test_no_command_shows_the_commands(cuecard: Call) -> None:
    shown = cuecard().out
    assert all(command.split()[0] in shown for command in COMMANDS)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_shows_its_commands(cuecard: Call, family: str) -> None:
    done = cuecard(family, "--help")
    named = [name.split()[1] for name in COMMANDS if name.startswith(f"{family} ")]
    assert done.code == 0 and named
    assert all(re.search(rf"^  {name} ", done.out, re.MULTILINE) for name in named)
    missing = cuecard(family, "tnue")
    assert missing.code == 2 and f"cuecard {family}" in missing.err


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
