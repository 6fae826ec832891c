"""One request as it goes through: who asks, for what, and what it took."""

from __future__ import annotations

from dataclasses import dataclass

from cuecard.serving.http.auth import APIKey
from cuecard.serving.http.limits import Admission
from cuecard.serving.protocol.errors import APIError

SCOPE = "cuecard.context"
"""Where ASGI's scope has it."""


@dataclass(slots=True)
class RequestContext:
    """What is known of a request; nothing of what it says.

    Attributes:
        id: the request's id, the caller's own if it gave one.
        key: whose it is; None where no keys are asked for.
        admission: what counts its tokens; None for what is not counted.
        served: the versions that answer.
        prompt_tokens, completion_tokens: what it took.
    """

    id: str
    key: APIKey | None = None
    admission: Admission | None = None
    served: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def tokens(self) -> int:
        """All that counts against a quota."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def counted_as(self) -> str:
        """What its tokens are counted under: combinations of prompts would be too many to count."""
        return "several" if ", " in self.served else self.served

    def allow(self, model: str, backbone: str, *, raw: bool = False) -> None:
        """Make sure that this key may use a model, there or not.

        Args:
            backbone: the model's name that means no prompt.
            raw: whether the prompt's template is left out.

        Raises:
            APIError: 403 if it may not.
        """
        if self.key is None:
            return
        bare = model == backbone
        if not bare and not self.key.allows(model):
            raise APIError(
                403,
                "model_not_allowed",
                f"This key may not use the model '{model}'.",
                param="model",
            )
        if (bare or raw) and not self.key.allows_raw:
            what = f"the backbone '{model}'" if bare else "a prompt without its template (raw)"
            raise APIError(
                403,
                "model_not_allowed",
                f"This key may not use {what}; that takes a key with the scope raw.",
                param="model" if bare else "raw",
            )

    def reserve(self, tokens: int) -> None:
        """Set aside the most tokens that this request can use.

        Raises:
            APIError: 429 where its key does not have so many left.
        """
        if self.admission is not None:
            self.admission.reserve(tokens)
