"""Requests as the worker sees them: rows to run, and whom to tell."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from cuecard.backbones.forward.injected import Injected
from cuecard.engine.local.prompt_cache import Key
from cuecard.engine.local.sampling import TokenSampler
from cuecard.engine.protocol import Embedding, Generation, Held, Scoring
from cuecard.errors import ConfigError
from cuecard.types import InputTokens, PrefixKV

# Runs on the event loop: takes what a call is waiting for, or the error instead.
Deliver = Callable[[Any], None]


@dataclass(eq=False, slots=True)
class SequenceState:
    """One row, and how far it has come.

    Attributes:
        number: its place in its call.
        prompt: None for the bare backbone.
        ids: the context.
        slot: how many of them come before the prompt.
        words: continuations to score.
        mask: the place in the context that they are to stand for; None where they come behind it.
        pins: what it uses of the cache.
        given: its prompt's tensors; None until they are needed.
        ahead: kept keys and values in front of the body.
        skip: how many of the ids are kept, and so not in the body.
        body: [n, H] what is to run, continuations at the end; None until it is laid out.
        done: how much of the body has run.
        own: keys and values of that, as far as they are needed.
        beginning: the first ids whose keys and values are to be kept when they have run.
    """

    number: int
    prompt: Held | None
    ids: tuple[int, ...]
    slot: int = 0
    words: tuple[tuple[int, ...], ...] = ()
    mask: int | None = None
    pins: list[Key] = field(default_factory=list)
    given: Injected | None = None
    ahead: tuple[Tensor, ...] = ()
    skip: int = 0
    body: Tensor | None = None
    done: int = 0
    own: tuple[Tensor, ...] = ()
    beginning: tuple[int, ...] = ()

    @property
    def digest(self) -> str:
        """Of its prompt; "" for none."""
        return "" if self.prompt is None else self.prompt.digest

    @property
    def stands_ahead(self) -> bool:
        """Whether all of its prompt stands in front of it, so that keys and values are kept."""
        injection = None if self.prompt is None else self.prompt.injection
        if injection is None or not injection.length:
            return False
        if isinstance(injection, InputTokens) and not len(injection.vectors):
            return False
        return isinstance(injection, PrefixKV) or self.slot == 0

    @property
    def tails(self) -> tuple[int, ...]:
        """Per continuation of more than one token, its tokens in the body."""
        return tuple(len(word) - 1 for word in self.words if len(word) > 1)


class Request:
    """One request: its rows that have not run to their end, first come first."""

    def __init__(self, rows: Sequence[SequenceState], deliver: Deliver) -> None:
        self.rows, self.deliver = deque(rows), deliver
        self.digests = {row.digest for row in rows}
        self.cancelled = self.over = False


class ScoreRequest(Request):
    """Rows whose words are scored; told when all of them are."""

    def __init__(self, rows: Sequence[Scoring], deliver: Deliver) -> None:
        made = [
            SequenceState(
                number, row.prompt, row.row.context, row.row.slot, row.words, row.row.mask
            )
            for number, row in enumerate(rows)
        ]
        super().__init__(made, deliver)
        self.scores: list[list[float]] = [[] for _ in rows]
        self.left = len(made)
        for row in made:
            _check(row.ids, row.slot, row.number)
            if not row.words or not all(row.words):
                raise ConfigError(
                    "a row has nothing to score",
                    where=f"row {row.number}",
                    got="no word, or an empty one",
                    expected="the token ids of one or more words",
                )


class EmbedRequest(Request):
    """Rows that become vectors; told when all of them have."""

    def __init__(self, rows: Sequence[Embedding], deliver: Deliver) -> None:
        made = [
            SequenceState(number, row.prompt, row.row.context, row.row.slot)
            for number, row in enumerate(rows)
        ]
        super().__init__(made, deliver)
        self.vectors: dict[int, Tensor] = {}
        for row in made:
            _check(row.ids, row.slot, row.number)


class GenerateRequest(Request):
    """One text that grows; told each token and the end.

    Attributes:
        row: its only one.
        left: how many tokens may still come.
        last: the token that is to be run next.
    """

    def __init__(self, request: Generation, stops: frozenset[int], deliver: Deliver) -> None:
        self.row = SequenceState(0, request.prompt, request.context, request.slot)
        super().__init__([self.row], deliver)
        _check(request.context, request.slot, 0)
        sampling = request.sampling
        if sampling.max_new_tokens < 1 or sampling.temperature < 0 or not 0 < sampling.top_p <= 1:
            raise ConfigError(
                "this cannot be sampled",
                got=f"{sampling.max_new_tokens} tokens at temperature {sampling.temperature}, "
                f"top_p {sampling.top_p}",
                expected="1 token or more, a temperature from 0 on, a top_p above 0 and up to 1",
            )
        self.sampling, self.stops, self.sampler = sampling, stops, TokenSampler(sampling, stops)
        self.left = sampling.max_new_tokens
        self.last = -1
        self.reserved = 0

    @property
    def longest(self) -> int:
        """Tokens of the row with its prompt, if it is written to its end."""
        prompt = 0 if self.row.prompt is None else self.row.prompt.injection.length
        return prompt + len(self.row.ids) + self.left

    @property
    def shifts(self) -> int:
        """How many of the row's first tokens its prompt shifts."""
        injection = None if self.row.prompt is None else self.row.prompt.injection
        given = injection.shifts if isinstance(injection, InputTokens) else None
        return 0 if given is None else len(given)

    @property
    def place(self) -> int:
        """Of the last token in its row, the prompt not counted."""
        return len(self.row.ids) + self.sampling.max_new_tokens - self.left - 1


class ForkedRequest(Request):
    """A row that runs once, and that several answers go on from.

    Attributes:
        answers: each is told for itself; none of them has the row among its own rows.
    """

    def __init__(self, answers: Sequence[GenerateRequest]) -> None:
        super().__init__([answers[0].row], answers[0].deliver)
        self.answers = tuple(answers)
        for answer in answers:
            answer.row = self.rows[0]
            answer.rows.clear()

    @property
    def waiting(self) -> list[GenerateRequest]:
        """The answers that somebody still waits for."""
        return [answer for answer in self.answers if not (answer.over or answer.cancelled)]


def _check(ids: Sequence[int], slot: int, number: int) -> None:
    if not ids or not 0 <= slot <= len(ids):
        raise ConfigError(
            "a row cannot be run",
            where=f"row {number}",
            got=f"{len(ids)} tokens, a slot behind {slot} of them",
            expected="one token or more, and a slot among them",
        )
