"""API errors, in OpenAI's format."""

from __future__ import annotations

from typing import Any

from cuecard.errors import CuecardError, EngineError
from cuecard.serving.models.catalog import ModelNotFoundError, ModelNotReadyError

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}


class APIError(Exception):
    """An error response.

    Args:
        status: the HTTP status.
        code: machine-readable, such as "model_not_found".
        message: for people.
        param: the request field at fault.
        retry_after: seconds after which a retry may succeed.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry_after = retry_after

    @property
    def body(self) -> dict[str, Any]:
        """The JSON body, without unpaired surrogates, which UTF-8 cannot carry."""
        return {
            "error": {
                "message": self.message.encode("utf-8", "replace").decode(),
                "type": _TYPES.get(self.status, "invalid_request_error"),
                "param": self.param and self.param.encode("utf-8", "replace").decode(),
                "code": self.code,
            }
        }

    @property
    def headers(self) -> dict[str, str]:
        """The response headers that go with it."""
        found = {}
        if self.retry_after is not None:
            found["Retry-After"] = str(self.retry_after)
        if self.status == 401:
            found["WWW-Authenticate"] = "Bearer"
        return found


def bad_request(message: str, param: str | None = None, code: str = "invalid_value") -> APIError:
    """400: the request cannot be answered as it is."""
    return APIError(400, code, message, param=param)


def embeddings_only(model: str) -> APIError:
    """400: a prompt for embeddings, where a label or a text is asked for."""
    return bad_request(
        f"The model '{model}' turns texts into vectors, and answers at /v1/embeddings alone.",
        "model",
        "unsupported",
    )


def head_not_served(model: str) -> APIError:
    """400: a prompt with a trained head that gives something else than one of its labels."""
    return bad_request(
        f"The model '{model}' answers by a trained head that gives no single label, which is not "
        "served.",
        "model",
        "unsupported",
    )


def images_only(backbone: str) -> APIError:
    """400: a vision encoder, where texts are read."""
    return bad_request(
        f"The backbone '{backbone}' sees images, reads no texts and writes none: it answers at "
        "/v1/classify or /v1/segment alone.",
        "model",
        "unsupported",
    )


def to_api_error(error: CuecardError) -> APIError:
    """What a client sees of an error: 503 if the engine failed, 400 if the request does not fit."""
    if isinstance(error, ModelNotFoundError):
        return APIError(404, "model_not_found", error.what, param="model")
    if isinstance(error, ModelNotReadyError):
        return APIError(503, "model_not_ready", error.what, param="model", retry_after=5)
    if isinstance(error, EngineError):
        return APIError(503, "engine_failed", "The engine failed.", retry_after=5)
    message = error.what if error.expected is None else f"{error.what}; expected {error.expected}"
    return APIError(400, "invalid_value", f"{message}.", param=error.where)
