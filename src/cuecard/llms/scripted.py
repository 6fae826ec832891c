"""A model whose answers are a function of what it is asked: for tests, and to try a search."""

from __future__ import annotations

from collections.abc import Callable

from cuecard.llms.protocol import LLMAnswer, LLMRequest, TokenUsage

_BYTES_A_TOKEN = 4


class ScriptedLLM:
    """Answers by a function.

    Args:
        answer: gives an answer's text; it may raise what a real model's client raises.
        name: what it is called.

    Attributes:
        requests: all that it was asked, in order.
    """

    at_once = 4

    def __init__(self, answer: Callable[[LLMRequest], str], name: str = "scripted") -> None:
        self.name, self._answer = name, answer
        self.requests: list[LLMRequest] = []

    def most_prompt_tokens(self, request: LLMRequest) -> int:
        """As of an endpoint that has not counted them."""
        return request.most_prompt_tokens

    async def complete(self, request: LLMRequest) -> LLMAnswer:
        """The function's answer, cut to `max_tokens`."""
        self.requests.append(request)
        text = self._answer(request)
        cut = text[: request.max_tokens * _BYTES_A_TOKEN]
        asked = sum(len(each.content) for each in request.messages)
        usage = TokenUsage(asked // _BYTES_A_TOKEN + 1, len(cut) // _BYTES_A_TOKEN)
        return LLMAnswer(cut, usage, "stop" if cut == text else "length", self.name)

    async def close(self) -> None:
        """Nothing to let go of."""
