"""What computes answers: protocols that any model behind a server, a search or a benchmark fulfils.

Engines know prompts by digest, and requests as token ids; no names, no tasks, no texts. A model
that only answers, without gradients, fulfils those of `Scores`, `Embeds` and `Generates` it can.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from cuecard.artifacts import Prompt
from cuecard.types import Encoded, Injection, Tokenizer


@dataclass(frozen=True, slots=True)
class Held:
    """A prompt as engines know it.

    Attributes:
        digest: SHA-256 of the prompt; the key of every cache.
        injection: float32, on the CPU.
    """

    digest: str
    injection: Injection


@dataclass(frozen=True, slots=True)
class Scoring:
    """One row whose continuations are to be scored.

    Attributes:
        prompt: None for the bare backbone.
        row: its context and slot; the target is not looked at.
        words: the continuations' token ids.
    """

    prompt: Held | None
    row: Encoded
    words: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Embedding:
    """One text that is to become a vector.

    Attributes:
        prompt: None for the bare backbone.
        row: its context and slot.
    """

    prompt: Held | None
    row: Encoded


class Guide(Protocol):
    """Which tokens one answer may go on with; moves along with it."""

    @property
    def accepting(self) -> bool:
        """Whether the answer may end here."""
        ...

    @property
    def finished(self) -> bool:
        """Whether nothing may follow any more."""
        ...

    def allowed(self, vocabulary: int) -> Tensor:
        """[V] bool on the CPU: the tokens that may come next, end tokens left out.

        Raises:
            CuecardError: the grammar is too complex to follow.
        """
        ...

    def accept(self, token: int) -> None:
        """The answer goes on with this token."""
        ...


class Grammar(Protocol):
    """What a constrained answer has to look like.

    Attributes:
        schema: a JSON schema, as JSON.
    """

    @property
    def schema(self) -> str: ...

    def guide(self) -> Guide:
        """A guide for one answer, at its beginning."""
        ...


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen.

    Attributes:
        max_new_tokens: the most to produce.
        temperature: 0 for the most likely token each time.
        top_p: the share of the probability that tokens are drawn from.
        seed: makes the draws repeatable; None for others each time.
        stop_ids: ids that end it, besides the model's own end tokens.
        top_logprobs: how many of the likeliest tokens are reported at each place.
        grammar: what the text has to look like; None for any text.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop_ids: tuple[int, ...] = ()
    top_logprobs: int = 0
    grammar: Grammar | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """One text to go on with.

    Attributes:
        prompt: None for the bare backbone.
        context: token ids.
        slot: how many of them come before the prompt.
        sampling: how tokens are chosen.
    """

    prompt: Held | None
    context: tuple[int, ...]
    slot: int
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class Token:
    """A token that was produced; the stop token itself is none.

    Attributes:
        logprob: under the model's own distribution: before temperature, `top_p` and grammar.
        top: the likeliest tokens in this place and their log-probabilities, likeliest first; as
            many as `Sampling.top_logprobs`.
    """

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a generation."""

    reason: Literal["stop", "length"]


class Scores(Protocol):
    """What gives log-probabilities of continuations."""

    async def score(self, rows: Sequence[Scoring]) -> list[list[float]]:
        """Per row the summed log-probability of each word.

        Raises:
            CuecardError: a row that does not fit.
            EngineError: the engine failed.
        """
        ...


class Embeds(Protocol):
    """What makes vectors of texts.

    Attributes:
        embedding_size: H of the vectors; None where it makes none.
    """

    embedding_size: int | None

    async def embed(self, rows: Sequence[Embedding]) -> list[Tensor]:
        """Per row a vector [H] of unit length, float32 on the CPU.

        Raises:
            ConfigError: an engine that makes none; see `embedding_size`.
            CuecardError: a row that does not fit.
            EngineError: the engine failed.
        """
        ...


class Generates(Protocol):
    """What continues a text."""

    def generate(self, request: Generation) -> AsyncIterator[Token | Finished]:
        """Tokens as they come, and one `Finished`; closing the iterator cancels.

        Raises:
            CuecardError: a request that does not fit.
            EngineError: the engine failed.
        """
        ...

    def generate_choices(
        self, requests: Sequence[Generation]
    ) -> list[AsyncIterator[Token | Finished]]:
        """As `generate`, for requests that differ in their sampling alone.

        Engines that can run the context once for all of them. Every iterator has to be closed, also
        one that was never started.
        """
        ...


class Engine(Scores, Embeds, Generates, Protocol):
    """What answers rows, whatever their prompts.

    Attributes:
        name: such as "local".
        tokenizer: the backbone's.
        max_positions: the most tokens of a row with its prompt and answer.
        dtype: the type of the backbone's numbers.
    """

    name: str
    tokenizer: Tokenizer
    max_positions: int
    dtype: torch.dtype

    def refuses(self, prompt: Prompt) -> None:
        """Say why a prompt cannot be served here.

        Raises:
            WrongBackboneError: it was made for another backbone.
            CuecardError: another reason.
        """
        ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def hold(self, prompt: Held) -> None:
        """Ready a prompt; nothing happens if it is."""
        ...

    async def drop(self, digest: str) -> None:
        """Forget a prompt that nobody uses any more."""
        ...

    def stats(self) -> Mapping[str, float]:
        """Counters and gauges by name."""
        ...
