"""What is known of the request being answered: its key, its models, its tokens."""

from __future__ import annotations

import time
from dataclasses import dataclass

from cuecard.serving.http.auth import APIKey
from cuecard.serving.http.limits import Admission
from cuecard.serving.protocol.errors import APIError

SCOPE = "cuecard.context"
"""Its key in the ASGI scope."""


@dataclass(slots=True)
class RequestContext:
    """The context of a request, without its content.

    Attributes:
        id: the request's id, by default generated.
        key: the caller's API key; None without authentication.
        admission: counts its tokens; None for requests that are not counted.
        served: the versions that answer.
        prompt_tokens, completion_tokens: tokens used so far.
        first_token: when the first token was generated, by `time.perf_counter`; None before.
    """

    id: str
    key: APIKey | None = None
    admission: Admission | None = None
    served: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_token: float | None = None

    def count_token(self) -> None:
        """A token was generated."""
        if self.first_token is None:
            self.first_token = time.perf_counter()
        self.completion_tokens += 1

    @property
    def tokens(self) -> int:
        """The tokens that count against the quota."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def model_label(self) -> str:
        """The model label in metrics; combinations of prompts would be too many."""
        return "several" if ", " in self.served else self.served

    def allow(self, model: str, backbone: str, *, raw: bool = False) -> None:
        """Check that the key may use a model, whether or not it exists.

        Args:
            backbone: the name of the model without a prompt.
            raw: whether the prompt is used without its template.

        Raises:
            APIError: 403.
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
                f"This key may not use {what}; a key with the scope raw may.",
                param="model" if bare else "raw",
            )

    async def reserve(self, tokens: int) -> None:
        """Reserve the maximum number of tokens that this request can use.

        Raises:
            APIError: 429 if the key has fewer left.
        """
        if self.admission is not None:
            await self.admission.reserve(tokens)
