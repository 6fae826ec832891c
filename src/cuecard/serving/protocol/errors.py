"""Requests that are not answered, in the shape of OpenAI's errors."""

from __future__ import annotations

from typing import Any

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}


class Refusal(Exception):  # noqa: N818 - what a client is told, not a fault of the program
    """An answer that is an error.

    Args:
        status: of HTTP.
        code: for programs, such as "model_not_found".
        message: for people.
        param: the request's field that is at fault.
        retry_after: seconds after which it may go better.
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
        """As JSON; no half characters, which JSON could not carry."""
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
        """What belongs into the answer's head."""
        found = {}
        if self.retry_after is not None:
            found["Retry-After"] = str(self.retry_after)
        if self.status == 401:
            found["WWW-Authenticate"] = "Bearer"
        return found


def bad_request(message: str, param: str | None = None, code: str = "invalid_value") -> Refusal:
    """What a client wrote cannot be answered."""
    return Refusal(400, code, message, param=param)


def by_vectors(model: str) -> Refusal:
    """A prompt that turns texts into vectors, where a label or a text is asked for."""
    return bad_request(
        f"The model '{model}' turns texts into vectors, and answers at /v1/embeddings alone.",
        "model",
        "unsupported",
    )


def by_head(model: str) -> Refusal:
    """A prompt whose trained head answers, where the model itself would."""
    return bad_request(
        f"The model '{model}' answers by a trained head, which is not served.",
        "model",
        "unsupported",
    )
