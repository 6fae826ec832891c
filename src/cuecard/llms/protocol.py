"""What a model that only answers is asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Role = Literal["system", "user", "assistant"]

# Roles and separators around a message, in tokens: more than any chat template has.
_AROUND = 32


@dataclass(frozen=True, slots=True)
class LLMMessage:
    """A message of a chat."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class LLMRequest:
    """A chat to answer.

    Attributes:
        max_tokens: of the answer.
        temperature: 0 for the likeliest answer.
        sample: tells apart requests that are alike but for chance.
        schema: a JSON schema, as JSON, which the answer follows where the model can be held to one;
            elsewhere the messages alone say it.
    """

    messages: tuple[LLMMessage, ...]
    max_tokens: int
    temperature: float = 0.0
    sample: int = 0
    schema: str | None = None

    @property
    def most_prompt_tokens(self) -> int:
        """An upper bound of what it is in tokens: none is shorter than a byte."""
        return sum(len(each.content.encode()) + _AROUND for each in self.messages)


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens of a call."""

    prompt_tokens: int
    completion_tokens: int

    @property
    def tokens(self) -> int:
        """Read and written."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class LLMAnswer:
    """An answer.

    Attributes:
        finish_reason: why it ended: "stop", "length", or the endpoint's own word.
        model: that answered, as it calls itself.
    """

    text: str
    usage: TokenUsage
    finish_reason: str = "stop"
    model: str = ""


class LLM(Protocol):
    """A model that answers chats.

    Attributes:
        name: of the model, as its provider calls it.
        at_once: how many requests it takes at the same time.
    """

    name: str
    at_once: int

    def most_prompt_tokens(self, request: LLMRequest) -> int:
        """How many tokens a request is at most."""
        ...

    async def complete(self, request: LLMRequest) -> LLMAnswer:
        """The answer.

        Raises:
            LLMError: there is none.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
