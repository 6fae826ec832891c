"""Commands to copy and run: every name in them is quoted for the shell."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cuecard.tasks import TaskSpec


def command_line(*words: str | Path) -> str:
    """A command for a shell, each word quoted where it has to be."""
    return shlex.join(map(str, words))


def predict_command(spec: TaskSpec, folder: str | Path, *options: str | Path) -> str:
    """The command that answers one record of a task with the prompt in a folder.

    Args:
        options: more words of the command, such as a backbone.
    """
    return command_line("cuecard", "predict", _path(folder), *options, *_inputs(spec))


def _inputs(spec: TaskSpec) -> list[str]:
    """A text as an argument where the task has one field, else each field by its name."""
    asked = [name for name in spec.record_fields if name not in spec.allow_empty]
    if len(asked) == 1:
        return [spec.task_kind.argument]
    words: list[str] = []
    for name in asked:
        words += ["--field", f"{name}={spec.task_kind.example(name)}"]
    return words


def _path(folder: str | Path) -> str:
    """A folder's path, which no command takes for an option."""
    text = str(folder)
    return f"./{text}" if text.startswith("-") else text
