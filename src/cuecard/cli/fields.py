"""Options made of a settings class: each field's name, type, default and help are written there.

A command says `source: PromptSource`, and its users see an option for each of the class's fields;
or `sweep: Annotated[Asked[SweepConfig], Fields(SweepConfig, ...)]`, and it gets them as they were
typed.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cuecard.cli.completion import Names, completer
from cuecard.cli.options import listed, pairs
from cuecard.errors import ConfigError
from cuecard.settings import alternatives, parse_settings, setting_of

Model = TypeVar("Model", bound=BaseModel)

_WIDEST = 44  # choices that take more columns are listed in the help instead
_PLACEHOLDERS = {int: "INTEGER", float: "NUMBER", Path: "PATH"}


@dataclass(frozen=True, slots=True)
class Flag:
    """How a setting is typed, where its own name, type and description do not say so.

    Attributes:
        name: of the option; of an argument, in capitals; by default the setting's with dashes.
        metavar: what stands for its value in the help.
        help: instead of the first sentence of the setting's description.
        repeat: whether a list is given a part at a time instead of separated by commas.
        names: what its value is completed with; by default a setting's choices.
        listed: whether its help lists these names.
        envvar: the environment variable that is read where it is not given.
        read: makes the setting's value of the text.
        optional: whether what the settings require may come from elsewhere.
    """

    name: str = ""
    metavar: str | None = None
    help: str = ""
    repeat: bool = False
    names: Names | None = None
    listed: bool = False
    envvar: str | None = None
    read: Callable[[Any], Any] | None = None
    optional: bool = False


@dataclass(frozen=True)
class Asked(Generic[Model]):
    """Settings as they were typed.

    Attributes:
        model: their class.
        values: those that were given, nested by section.
        flags: each one's key -> what it is called on the command line.
        names: the same of all settings, given or not.
    """

    model: type[Model]
    values: Mapping[str, Any]
    flags: Mapping[str, str]
    names: Mapping[str, str] = field(default_factory=dict)

    def settings(self, **more: Any) -> Model:
        """The checked settings.

        Args:
            more: values beside those that were given.

        Raises:
            ConfigError: a value that does not fit, with the flag that it was given by.
        """
        try:
            return parse_settings(self.model, {**more, **self.values}, "the command line")
        except ConfigError as error:
            raise named(error, {**self.names, **self.flags}) from error

    def over(self, read: Model) -> Model:
        """Settings that were read, with what was typed in place of theirs.

        Raises:
            ConfigError: a value that does not fit, with the flag that it was given by.
        """
        return self.settings(**read.model_dump(mode="json")) if self.values else read


class Fields:
    """Options for the fields of a settings class.

    Args:
        model: the class; in a field's `Annotated` may stand a `Flag`.
        flags: only these fields, and how they are typed; "section.name" for one of a section's.
        sections: the classes of sections that the class itself leaves open.
        titles: of parts of the help: a section's or a field's key -> the title that it is under.
    """

    def __init__(
        self,
        model: type[BaseModel],
        flags: Mapping[str, Flag] | None = None,
        *,
        sections: Mapping[str, type[BaseModel]] | None = None,
        titles: Mapping[str, str] | None = None,
    ) -> None:
        self._model = model
        self._titles = titles or getattr(model, "titles", {})
        if flags is None:
            flags = {
                name: next((x for x in field.metadata if isinstance(x, Flag)), Flag())
                for name, field in model.model_fields.items()
            }
        self._options = {
            key.replace(".", "_"): _Option(key, flag, setting_of(model, key, sections or {}))
            for key, flag in flags.items()
        }

    @property
    def parameters(self) -> list[inspect.Parameter]:
        """What typer reads of them."""
        return [
            option.parameter(name, self._title_of(option.key))
            for name, option in self._options.items()
        ]

    @property
    def names(self) -> dict[str, str]:
        """Each setting's key -> what it is called on the command line."""
        return {option.key: option.name for option in self._options.values()}

    def take(self, options: dict[str, Any]) -> Any:
        """Take their values out of a command's options; as the command gets them."""
        return Asked(self._model, *self.given(options), self.names)

    def given(self, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """The values that were given, nested by section, and what their flags are called."""
        values: dict[str, Any] = {}
        flags: dict[str, str] = {}
        for name, option in self._options.items():
            value = option.value(options.pop(name))
            if value is None:
                continue
            *sections, last = option.key.split(".")
            place = values
            for section in sections:
                place = place.setdefault(section, {})
            place[last] = value
            flags[option.key] = option.name
        return values, flags

    def _title_of(self, key: str) -> str | None:
        return self._titles.get(key) or self._titles.get(key.partition(".")[0])


class _Checked(Fields):
    """Options that a command gets as their class."""

    def take(self, options: dict[str, Any]) -> BaseModel:
        """The checked settings."""
        asked: Asked[BaseModel] = super().take(options)
        return asked.settings()


def named(error: ConfigError, flags: Mapping[str, str]) -> ConfigError:
    """An error of a setting with the flag that it was given by as its place, if it was.

    Args:
        flags: a setting's key -> what its flag is called.
    """
    key = re.sub(r"\.\d+$", "", (error.where or "").rpartition(", ")[2])  # without an item's number
    flag = next((flags[k] for k in (key, f"method.{key}", f"{key}.name") if k in flags), None)
    if flag is None:  # a section's own checks name its settings without it
        alike = {flags[k] for k in flags if k.rpartition(".")[2] == key}
        flag = alike.pop() if len(alike) == 1 else None
    return error if flag is None else error.replaced(where=flag)


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """A command as typer can read it, with an option for each field of its settings' classes."""
    hints = get_type_hints(command, include_extras=True)
    fields: dict[str, Fields] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        found = _fields_in(hints[parameter.name])
        if found is None:
            parameters.append(
                parameter.replace(
                    kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[parameter.name]
                )
            )
        else:
            fields[parameter.name] = found
            parameters += found.parameters

    def call(**options: Any) -> None:
        taken = {name: found.take(options) for name, found in fields.items()}
        command(**taken, **options)

    call.__doc__ = command.__doc__
    call.__name__ = command.__name__
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in parameters}
    return call


def first_sentence(text: str) -> str:
    """What a description begins with; the rest of it is not for the command line's help."""
    sentence, more, _ = " ".join(text.split()).partition(". ")
    return f"{sentence}." if more else sentence


def _fields_in(annotation: Any) -> Fields | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _Checked(annotation)
    if get_origin(annotation) is Annotated:
        return next((x for x in get_args(annotation) if isinstance(x, Fields)), None)
    return None


class _Option:
    """One setting on the command line.

    Attributes:
        key: the setting's.
        name: what a user calls it.
    """

    def __init__(self, key: str, flag: Flag, field: FieldInfo | None) -> None:
        self.key = key
        self._flag, self._field = flag, field
        last = key.rpartition(".")[2]
        self.name = flag.name or f"--{last.replace('_', '-')}"
        types = list(alternatives(str if field is None else field.annotation))
        self._choices = [str(x) for t in types if get_origin(t) is Literal for x in get_args(t)]
        self._plain = [get_origin(t) or t for t in types if get_origin(t) is not Literal]

    def parameter(self, name: str, title: str | None) -> inspect.Parameter:
        """What typer reads of it."""
        required = self._field is not None and self._field.is_required()
        required = required and not self._flag.optional
        several = self._flag.repeat or dict in self._plain
        kind: Any = bool if self._plain == [bool] else list[str] if several else str
        if self.name.startswith("-"):
            info: Any = typer.Option(
                self._declaration(),
                metavar=None if kind is bool else self._metavar(),
                help=self._help(),
                show_default=False,
                envvar=self._flag.envvar,
                autocompletion=completer(self._flag.names or (lambda _: self._choices)),
                rich_help_panel=title,
            )
        else:
            info = typer.Argument(
                metavar=self.name,
                help=self._help(),
                show_default=False,
                autocompletion=completer(self._flag.names or (lambda _: self._choices)),
            )
        return inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if required else None,
            annotation=Annotated[kind if required else kind | None, info],
        )

    def value(self, given: Any) -> Any:
        """The setting's value of what was typed, not yet checked; None for nothing."""
        if given is None or given == [] or isinstance(given, bool):
            return None if given == [] else given
        if self._flag.read is not None:
            return self._flag.read(given)
        if dict in self._plain:
            return pairs(given, self.name)
        if tuple in self._plain and given not in self._choices:
            return tuple(given) if self._flag.repeat else listed(given)
        if given in self._choices:
            return given
        for kind in (int, float, Path):
            if kind in self._plain:
                try:
                    return kind(given)
                except ValueError:
                    continue
        return given

    def _declaration(self) -> str:
        default = None if self._field is None else self._field.default
        if self._plain == [bool] and default is not False:
            return f"{self.name}/--no-{self.name.removeprefix('--')}"
        return self.name

    def _metavar(self) -> str:
        if self._flag.metavar is not None:
            return self._flag.metavar
        said = "|".join(self._choices)
        if dict in self._plain:
            return "NAME=VALUE"
        words = [_PLACEHOLDERS[kind] for kind in (int, float, Path) if kind in self._plain]
        if not self._choices:
            return words[0] if words else "TEXT"
        if len(said) > _WIDEST:
            return "NAME"
        return f"[{'|'.join([*self._choices, *words])}]"

    def _help(self) -> str:
        field = self._field
        text = self._flag.help or first_sentence((field and field.description) or "")
        if self._flag.names is not None and self._flag.listed:
            text += f" One of {', '.join(self._flag.names({}))}."
        elif len("|".join(self._choices)) > _WIDEST:
            text += f" One of {', '.join(self._choices)}."
        if self._flag.repeat or dict in self._plain:
            text += " May be repeated."
        default = None if field is None else field.default
        if not isinstance(default, str | int | float) or isinstance(default, bool):
            return text
        return f"{text}  [default: {default}]"
