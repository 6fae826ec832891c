"""Plain-text help, and usage errors in the form of all other errors.

Help is laid out here instead of by typer's rich pages: importing those takes longer than all the
rest of `cuecard --help`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

from cuecard.errors import ConfigError
from cuecard.tasks.similar import nearest
from cuecard.validation_text import expected

WIDTH = {"max_content_width": 100}
# typer keeps its other errors of usage, all derived from this one, to itself.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]

_TYPE = re.compile(r"<(.*)>$")  # as typer writes it
_PLACEHOLDERS = {
    "int": "INTEGER",
    "int range": "INTEGER",
    "float": "NUMBER",
    "float range": "NUMBER",
    "str": "TEXT",
    "path": "PATH",
}
_CHOICES = re.compile(r" is not one of (.*)\.$")
_EXTRA = re.compile(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)")
_OPTION = re.compile(r"--?[A-Za-z][A-Za-z-]*(=.*)?")


class Command(TyperCommand):
    """A command whose options are listed under the titles that they name (`rich_help_panel`)."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, then options."""
        write_parameters(self, ctx, formatter)


class Program(TyperGroup):
    """`cuecard` itself, or commands that share their first word: listed in groups."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first word names.

        Raises:
            ConfigError: there is no such command.
        """
        known = args[0] in self.commands or args[0].startswith("-") or ctx.resilient_parsing
        if not known:
            hint = nearest(args[0], self.commands) or f"{ctx.command_path} --help"
            raise ConfigError("no such command", where=ctx.command_path, got=args[0], hint=hint)
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Commands by group, then the options of the program."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            groups.setdefault(getattr(command, "rich_help_panel", ""), []).append(
                (name, command.help or "")
            )
        column = max(map(len, self.commands)) + 2
        for title, rows in groups.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(column), text) for name, text in rows])
        write_parameters(self, ctx, formatter)


def write_parameters(command: Any, ctx: Any, formatter: Any) -> None:
    """Write what a command takes, a section for each title."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is None:
            continue
        argument = isinstance(parameter, TyperArgument)
        name = _name(parameter) if argument else _TYPE.sub(_placeholder, record[0])
        usual = "Arguments" if argument else "Options"
        sections.setdefault(parameter.rich_help_panel or usual, []).append((name, record[1]))
    for title in dict.fromkeys(["Arguments", "Options", *sections]):
        if rows := sections.get(title):
            with formatter.section(title):
                formatter.write_dl(rows)


def usage_mistake(error: Exception, words: Sequence[str]) -> ConfigError:
    """What typer found wrong with a command line, as an error of ours.

    Args:
        error: a `UsageError`.
        words: the command line.
    """
    context = getattr(error, "ctx", None)
    first = " ".join(["cuecard", *(word for word in words[:1] if not word.startswith("-"))])
    command = first if context is None else context.command_path
    seen = f"{command} --help"
    parameter: Any = getattr(error, "param", None)
    if type(error).__name__ == "NoSuchOption":
        return _no_such_option(error, command, words)
    if type(error).__name__ == "MissingParameter" and parameter is not None:
        kind = parameter.param_type_name
        return ConfigError(f"a missing {kind}", where=command, expected=_name(parameter), hint=seen)
    if isinstance(error, typer.BadParameter) and parameter is not None:
        return _bad_value(error, parameter)
    said = str(getattr(error, "message", error)).rstrip(".")
    if extra := _EXTRA.fullmatch(said):
        return ConfigError("too many arguments", where=command, got=extra[1], hint=seen)
    return ConfigError(f"{said[:1].lower()}{said[1:]}", where=command, hint=seen)


def _no_such_option(error: Any, command: str, words: Sequence[str]) -> ConfigError:
    name = str(error.option_name)
    given = [word for word in words[1:] if word.startswith(name)]
    word = next((word for word in given if word.partition("=")[0] == name), [*given, name][0])
    takes_texts = any(parameter.name == "texts" for parameter in error.ctx.command.params)
    hints = [f"did you mean {near}?" for near in list(error.possibilities or ())[:1]]
    if takes_texts or not _OPTION.fullmatch(word):
        after = f"{command} ... -- {shlex.quote(word)}"
        hints.append(f"a text that begins with '-' goes after --: {after}")
    hint = " or ".join(hints) or f"{command} --help"
    return ConfigError("no such option", where=command, got=word.partition("=")[0], hint=hint)


def _bad_value(error: Any, parameter: Any) -> ConfigError:
    """A value that its parameter does not take; pydantic's own words are not for users."""
    cause = error.__cause__
    if not hasattr(cause, "errors"):
        return ConfigError(str(error.message).rstrip("."), where=_name(parameter))
    first = cause.errors()[0]
    given, choices = first["input"], _CHOICES.search(first["msg"])
    if choices is None:
        wanted, hint = expected(first), None
    else:
        names = [name.strip("'") for name in choices[1].split(", ")]
        wanted, hint = ", ".join(names), nearest(str(given), names)
    return ConfigError(
        "not a valid value", where=_name(parameter), got=given, expected=wanted, hint=hint
    )


def _placeholder(found: re.Match[str]) -> str:
    said = found[1]
    return _PLACEHOLDERS.get(said.removeprefix("list[").rstrip("]"), f"[{said}]")


def _name(parameter: Any) -> str:
    """What a user calls a parameter."""
    if isinstance(parameter, TyperArgument):
        return str(parameter.metavar or parameter.name.upper())
    return str(parameter.opts[0])
