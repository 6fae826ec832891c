"""Settings a user wrote -> a checked model, with errors that name the key and the nearest one."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from cuecard.errors import ConfigError

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
        # An unknown key is often the reason why another one is missing.
        found = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        first = found[0]
        keys = [str(key) for key in first["loc"]]
        place = f"{where}, {'.'.join(keys)}" if keys else where
        if first["type"] != "extra_forbidden":
            raise ConfigError(
                "a setting that cannot be used",
                where=place,
                got=repr(first["input"]),
                expected=first["msg"],
            ) from error
        valid = _keys_at(model, keys[:-1])
        near = difflib.get_close_matches(keys[-1], valid, 1, 0.5)
        raise ConfigError(
            "an unknown setting",
            where=place,
            got=keys[-1],
            expected=", ".join(valid),
            hint=f"did you mean {near[0]}?" if near else None,
        ) from error


def _keys_at(model: type[BaseModel], path: list[str]) -> list[str]:
    """The valid keys of a nested section."""
    for key in path:
        annotation = model.model_fields[key].annotation
        options = [annotation, *get_args(annotation)]
        model = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return sorted(model.model_fields)
