"""Asks a model within a search: each request once, within the budget, again after a failure."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from cuecard.errors import LLMError
from cuecard.llms.prices import Price
from cuecard.llms.protocol import LLM, LLMAnswer, LLMRequest, TokenUsage
from cuecard.search.budget import Amount
from cuecard.search.calls import CallAnswer, CallFailed, Calls
from cuecard.search.candidate import digest
from cuecard.training.storage.log import Observer

# How often a request is made before the search gives up, and how long it waits in between: from a
# second, twice as long each time, and up to as much again by chance.
_TRIES = 6
_WAIT = 1.0


class Asker:
    """A model, as a search asks it.

    Args:
        llm: the model.
        calls: of the search.
        price: None where tokens cost nothing.
        wait: seconds before a request is made for the second time.
        tell: is told when a request failed and will be made again.
    """

    def __init__(
        self,
        llm: LLM,
        calls: Calls,
        price: Price | None = None,
        wait: float = _WAIT,
        tell: Observer | None = None,
    ) -> None:
        self.llm, self._calls, self._price = llm, calls, price or Price()
        self._wait, self._room = wait, asyncio.Semaphore(llm.at_once)
        self._tell, self._failures = tell or (lambda event: None), 0
        self._model: str | None = None
        self._ended: LLMError | None = None

    async def ask(self, requests: Sequence[LLMRequest]) -> list[LLMAnswer]:
        """The answers, in order.

        Raises:
            BudgetSpent: there is not enough left for one of them; those under way are waited for.
            LLMError: the model does not answer, or another model does.
        """
        found = await asyncio.gather(*map(self._one, requests), return_exceptions=True)
        for each in found:
            if isinstance(each, BaseException):
                raise each
        return [each for each in found if not isinstance(each, BaseException)]

    def knows(self, request: LLMRequest) -> bool:
        """Whether it was answered before, so that it costs nothing."""
        return self._key(request) in self._calls.journal.answers

    def most(self, request: LLMRequest) -> Amount:
        """What an answer takes at most."""
        usage = TokenUsage(self.llm.most_prompt_tokens(request), request.max_tokens)
        return Amount(1, usage.tokens, self._price.of(usage))

    async def _one(self, request: LLMRequest) -> LLMAnswer:
        key = self._key(request)
        most = self.most(request)
        for number in range(_TRIES):
            try:
                async with self._room:
                    if self._ended is not None:  # while this one waited for room
                        raise self._ended
                    found = await self._calls.make(
                        key, self.llm.name, most, lambda: self._call(request, most)
                    )
                self._failures = 0
                return self._checked(_read(found))
            except CallFailed as failed:
                error = failed.__cause__
                assert isinstance(error, LLMError)
                # Where nothing has ever answered, the address is wrong.
                hopeless = error.fatal or (error.unreachable and self._model is None)
                if hopeless or number == _TRIES - 1:
                    self._ended = error
                    raise error from failed
                wait = self._wait * 2**number * (1 + random.random())
                if number >= self._failures:  # of those at the same time, the first one tells
                    self._failures = number + 1
                    self._tell({"event": "retry", "seconds": wait, "why": error.what})
                await asyncio.sleep(wait)
        raise AssertionError("unreachable")

    def _key(self, request: LLMRequest) -> str:
        return request_key(self.llm.name, request)

    async def _call(self, request: LLMRequest, most: Amount) -> CallAnswer:
        try:
            found = await self.llm.complete(request)
        except LLMError as error:
            raise CallFailed(error.what, Amount(calls=1) if error.unpaid else None) from error
        spent = Amount(1, found.usage.tokens, self._price.of(found.usage))
        if spent.tokens > most.tokens:
            raise CallFailed("more tokens than asked for") from LLMError(
                "the endpoint reports more tokens than the request can have",
                where=f"model {self.llm.name}",
                got=spent.tokens,
                expected=f"at most {most.tokens}",
                fatal=True,
            )
        return CallAnswer(asdict(found), spent)

    def _checked(self, found: LLMAnswer) -> LLMAnswer:
        """The answer, if the model that gave it is the one of all answers before."""
        self._model = self._model or found.model
        if found.model and found.model != self._model:
            raise LLMError(
                "another model answers than before, so that scores cannot be compared",
                where=f"model {self.llm.name}",
                got=found.model,
                expected=self._model,
                hint="name a model's fixed version",
                fatal=True,
            )
        return found


def _read(row: dict[str, Any]) -> LLMAnswer:
    return LLMAnswer(**{**row, "usage": TokenUsage(**row["usage"])})


def request_key(model: str, request: LLMRequest) -> str:
    """What a journal knows a request to a model by."""
    asked = asdict(request)
    if request.schema is None:
        del asked["schema"]  # as journals have it that are older than schemas
    return digest([model, asked])
