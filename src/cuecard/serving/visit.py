"""One request as it goes through: who asks, for what, and what it took."""

from __future__ import annotations

from dataclasses import dataclass

from cuecard.serving.keys import Key
from cuecard.serving.refusals import Refusal

SCOPE = "cuecard.visit"
"""Where ASGI's scope has it."""


@dataclass(slots=True)
class Visit:
    """What is known of a request; nothing of what it says.

    Attributes:
        id: the request's id, the caller's own if it gave one.
        key: whose it is; None where no keys are asked for.
        served: the versions that answer.
        prompt_tokens, completion_tokens: what it took.
    """

    id: str
    key: Key | None = None
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

    def allow(self, model: str) -> None:
        """Make sure that this key may use a model, there or not.

        Raises:
            Refusal: 403 if it may not.
        """
        if self.key is not None and not self.key.allows(model):
            raise Refusal(
                403,
                "model_not_allowed",
                f"This key may not use the model '{model}'.",
                param="model",
            )
