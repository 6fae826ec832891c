"""The body of `/v1/classify` and `/v1/segment`: JSON, or a form with files."""

from __future__ import annotations

import json
from functools import partial
from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.requests import Request

from cuecard.serving.api.inputs import offload
from cuecard.serving.http.forms import read_form
from cuecard.serving.http.request_body import is_form
from cuecard.serving.protocol.requests import (
    MAX_MODELS,
    ClassifyForm,
    ClassifyRequest,
    RequestModel,
)
from cuecard.serving.protocol.validation import invalid_json, invalid_request
from cuecard.serving.settings import Limits

Body = TypeVar("Body", bound=RequestModel)

DESCRIPTION: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": ClassifyRequest.model_json_schema()},
            "multipart/form-data": {"schema": ClassifyForm.model_json_schema()},
        },
    }
}
"""What OpenAPI says of it."""

_OTHERS = 64
"""Parts of a form beside its inputs and models: parameters without effect."""


async def classify_body(request: Request, limits: Limits) -> ClassifyRequest | ClassifyForm:
    """What is asked, checked; a large body in a thread.

    Raises:
        APIError: not JSON and not a form, or another one than asked for.
    """
    body = await request.body()
    if is_form(request.headers):
        read = partial(_form, request.headers["content-type"], body, limits)
        return await offload(len(body), read)
    return await offload(len(body), partial(_json, body))


def _json(body: bytes) -> ClassifyRequest:
    try:
        sent = json.loads(body) if body else None
    except (ValueError, RecursionError):
        raise invalid_json() from None
    return _checked(ClassifyRequest, sent)


def _form(content_type: str, body: bytes, limits: Limits) -> ClassifyForm:
    parts = read_form(content_type, body, limits.max_texts + MAX_MODELS + _OTHERS)
    lists = ClassifyForm.model_fields
    sent = {name: some if name in lists else some[-1] for name, some in parts.items()}
    return _checked(ClassifyForm, sent)


def _checked(model: type[Body], sent: Any) -> Body:
    try:
        return model.model_validate(sent)
    except ValidationError as error:
        # As FastAPI places them.
        errors = [{**found, "loc": ("body", *found["loc"])} for found in error.errors()]
        raise invalid_request(errors, sent, model) from None
