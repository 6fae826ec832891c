"""Which options the command line has, for commands that documents and files of others name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from functools import cache

import typer.main

from cuecard.cli.main import COMMANDS, FAMILIES, app_for


@cache
def options_of(command: str) -> frozenset[str]:
    """The options of a command, of one word or two."""
    found = typer.main.get_command(app_for(command))
    for word in command.split():
        found = found.commands[word]  # type: ignore[attr-defined]
    return frozenset(
        name for parameter in found.params for name in (*parameter.opts, *parameter.secondary_opts)
    )


def unknown_options(words: Sequence[str]) -> list[str]:
    """The options of a command's words that it does not have.

    Args:
        words: without "cuecard"; the command first.
    """
    count = 2 if words[0] in FAMILIES else 1
    command = " ".join(words[:count])
    assert command in COMMANDS, words
    known = options_of(command)
    return [word for word in words if word.startswith("--") and word not in known]


def commands_in(page: str) -> Iterator[list[str]]:
    """The words of every `cuecard` command in a page's shell blocks, without "cuecard"."""
    for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            command = re.split(r"[|;>&]", line)[0]
            if command.startswith("cuecard "):
                yield shlex.split(command, comments=True)[1:]
