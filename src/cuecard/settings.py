"""Settings a user wrote -> a checked model, with errors that name the key and the nearest one."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from cuecard.errors import ConfigError
from cuecard.validation_text import expected, shown

Model = TypeVar("Model", bound=BaseModel)


def parse_settings(model: type[Model], values: Mapping[str, Any], where: str) -> Model:
    """Check a mapping against a settings class.

    Args:
        where: what to call the source in an error: a file, "the command line".

    Raises:
        ConfigError: an unknown key, with the nearest valid one, or a value that does not fit.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise _explained(model, error, where) from error


def flat(values: Mapping[str, Any], joint: str = ".", above: str = "") -> Iterator[tuple[str, Any]]:
    """A nested mapping's values by their joined names, in order."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, joint, f"{above}{name}{joint}")
        else:
            yield f"{above}{name}", value


def setting_of(
    model: type[BaseModel], key: str, sections: Mapping[str, type[BaseModel]]
) -> FieldInfo | None:
    """A setting by its dotted key; None for one that its section only lets stand beside its own.

    Args:
        sections: the classes of sections that the class itself leaves open.
    """
    section, dot, name = key.partition(".")
    if not dot:
        return model.model_fields[key]
    inner = sections.get(section) or model.model_fields[section].annotation
    more: Mapping[str, FieldInfo] = getattr(inner, "more_settings", dict)()
    return inner.model_fields.get(name) or more.get(name)  # type: ignore[union-attr]


def alternatives(annotation: Any) -> Iterator[Any]:
    """The types that a value may have, but None."""
    if get_origin(annotation) is Annotated:
        yield from alternatives(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for inner in get_args(annotation):
            yield from alternatives(inner)
    elif annotation is not NoneType:
        yield annotation


def _explained(model: type[BaseModel], error: ValidationError, where: str) -> ConfigError:
    # An unknown key is often the reason why another one is missing.
    found = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    first = found[0]
    keys = _own_keys(model, first["loc"])
    place = f"{where}, {'.'.join(keys)}" if keys else where
    if first["type"] == "extra_forbidden":
        return _unknown(model, keys, place)
    if first["type"] == "missing" and not isinstance(first["loc"][-1], int):
        return ConfigError(
            "a required setting is missing", where=place, expected=f"a value for {keys[-1]}"
        )
    if first["type"] == "missing":
        least = f"{int(first['loc'][-1]) + 1} or more"
        return ConfigError("too few values", where=place, got=shown(first["input"]), expected=least)
    # A value of several possible types is complained of once for each.
    choices = dict.fromkeys(expected(e) for e in found if _own_keys(model, e["loc"]) == keys)
    return ConfigError(
        "invalid setting",
        where=place,
        got=shown(first["input"]),
        expected=" or ".join(choices),
        hint=_hint(model, keys, first),
    )


def _unknown(model: type[BaseModel], keys: list[str], place: str) -> ConfigError:
    section = _section(model, keys[:-1])
    # A section may let more settings stand beside its fields.
    more: Mapping[str, Any] = getattr(section, "more_settings", dict)()
    valid = [] if section is None else sorted({*section.model_fields, *more})
    near = difflib.get_close_matches(keys[-1], valid, 1, 0.5)
    return ConfigError(
        "an unknown setting",
        where=place,
        got=keys[-1],
        expected=", ".join(valid) or None,
        hint=f"did you mean {near[0]}?" if near else None,
    )


def _hint(model: type[BaseModel], keys: list[str], error: Mapping[str, Any]) -> str | None:
    """What to write instead, for mistakes that YAML leads to."""
    value = error["input"]
    if isinstance(value, bool) and error["type"] == "string_type":
        return "YAML reads yes, no, on, off, true and false as truth values: put them in quotes"
    if error["type"] == "string_type" and isinstance(value, int | float):
        return f"put it in quotes: '{value}'"
    if error["type"] in ("tuple_type", "list_type") and isinstance(value, bool):
        return "write a list; YAML reads yes and no as truth values, so quote them: ['yes', 'no']"
    if error["type"] in ("tuple_type", "list_type") and isinstance(value, str | int | float):
        return f"write a list: [{value}]"
    if error["type"] == "dict_type" and keys == ["method"] and isinstance(value, str):
        return f"write method: {{name: {value}}}"
    section = _section(model, keys)
    if section is not None and not isinstance(value, Mapping):
        first = next(iter(section.model_fields))
        written = value if isinstance(value, str) else "..."
        return f"write {keys[-1]}: {{{first}: {written}}}"
    return None


def _own_keys(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """The keys of a place as the user wrote them, without pydantic's names for a union's types."""
    keys: list[str] = []
    annotation: Any = model
    for key in location:
        section = _model_in(annotation)
        if section is not None and not _is_map(annotation):
            annotation = section.model_fields[str(key)].annotation if key in _names(section) else ()
        elif _is_map(annotation):
            annotation = get_args(annotation)[1]
        elif isinstance(key, int):
            annotation = ()
        else:
            break
        keys.append(str(key))
    return keys


def _section(model: type[BaseModel], path: Sequence[str]) -> type[BaseModel] | None:
    """The settings class of a nested section; None where there is none."""
    annotation: Any = model
    for key in path:
        if _is_map(annotation):
            annotation = get_args(annotation)[1]
            continue
        section = _model_in(annotation)
        if section is None or key not in _names(section):
            return None
        annotation = section.model_fields[key].annotation
    return None if _is_map(annotation) else _model_in(annotation)


def _names(section: type[BaseModel]) -> Collection[str | int]:
    return section.model_fields.keys()


def _is_map(annotation: Any) -> bool:
    return get_origin(annotation) in (dict, Mapping)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    options = [annotation, *get_args(annotation)]
    return next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
