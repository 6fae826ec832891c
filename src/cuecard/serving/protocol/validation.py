"""Turn validation errors into API errors that name the parameter and what it may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cuecard.serving.protocol.errors import APIError, bad_request
from cuecard.serving.protocol.neutral import why_rejected
from cuecard.serving.protocol.requests import CUSTOM_ERRORS, RequestModel

Path = tuple[str | int, ...]
_MAX_PARAM = 200


def invalid_request(
    errors: Sequence[Mapping[str, Any]], body: Any, model: type[RequestModel] | None
) -> APIError:
    """The error of an invalid body: the parameter and what is allowed, never the value sent.

    Args:
        errors: pydantic's; the most specific one of the first parameter counts.
        body: the body sent, which tells parameter names from pydantic's own words.
        model: the route's request model.
    """
    if errors[0]["type"] == "json_invalid":
        return invalid_json()
    if not isinstance(body, dict):
        return bad_request("The request body must be a JSON object.")
    found = [(_path(each, body), each) for each in errors]
    first = found[0][0]
    same = [(path, each) for path, each in found if path[: len(first)] == first]
    path, error = max(same, key=lambda pair: (len(pair[0]), pair[1]["type"] in CUSTOM_ERRORS))
    return _message(path, error, model)


def invalid_json() -> APIError:
    """The error of a body that is not JSON."""
    return bad_request("The request body is not valid JSON.", None, "invalid_json")


def _message(path: Path, error: Mapping[str, Any], model: type[RequestModel] | None) -> APIError:
    param = ".".join(map(str, path))[:_MAX_PARAM] or None
    if error["type"] in CUSTOM_ERRORS:
        return bad_request(f"'{param}' {error['msg']}.", param)
    owner, field, name = _declared(path, model)
    if error["type"] == "extra_forbidden":
        neutral = owner.neutral if owner is not None else {}
        return bad_request(why_rejected(str(param), str(path[-1]), neutral), param)
    allowed = "" if field is None else str(field.description)
    if error["type"] == "missing":
        says = f": {allowed}" if allowed else ""
        return bad_request(f"'{param}' is required{says}.", param)
    if not allowed:
        return bad_request(f"'{param}' has an invalid value.", param)
    if name == param:
        return bad_request(f"'{param}' must be {allowed}.", param)
    return bad_request(f"'{param}' is invalid: '{name}' must be {allowed}.", param)


def _path(error: Mapping[str, Any], body: Any) -> Path:
    """The path of an error in the body, without the words that pydantic adds to locations."""
    at, path = body, []
    parts = [part for place, part in enumerate(error["loc"]) if place or part != "body"]
    for place, part in enumerate(parts):
        within = at if isinstance(at, dict) else range(len(at)) if isinstance(at, list) else ()
        known = part in within
        if known:
            at = at[part]
        if known or (place == len(parts) - 1 and error["type"] == "missing"):
            path.append(part)
    return tuple(path)


def _declared(
    path: Path, model: type[RequestModel] | None
) -> tuple[type[RequestModel] | None, FieldInfo | None, str]:
    """The model with the path's last field, that field, and the field's own path."""
    field: FieldInfo | None = None
    name = ""
    for place, part in enumerate(path):
        if isinstance(part, int):
            continue
        if field is not None:
            inner = model_of(field.annotation)
            if inner is None:
                break
            model = inner
        found = None if model is None else _field(model, part)
        if found is None:
            break
        field, name = found, ".".join(map(str, path[: place + 1]))
    return model, field, name


def _field(model: type[RequestModel], name: str) -> FieldInfo | None:
    """The field with a name or alias."""
    return next(
        (each for own, each in model.model_fields.items() if (each.alias or own) == name), None
    )


def model_of(annotation: Any) -> type[RequestModel] | None:
    """The model in a field's type, also in a list or union; None if there is none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation if issubclass(annotation, RequestModel) else None
    return next(filter(None, map(model_of, get_args(annotation))), None)
