"""The interfaces of models that answer: for a server, a search or a benchmark.

Engines know prompts by digest, and requests as token ids: no names, no tasks, no texts. A model
without gradients implements those of `Scores`, `Embeds` and `Generates` that it supports.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from cuecard.artifacts import Prompt
from cuecard.images import ImageLimits
from cuecard.types import Encoded, Head, Image, Injection, Tokenizer


@dataclass(frozen=True, slots=True)
class Held:
    """A prompt's digest and tensors.

    Attributes:
        digest: SHA-256 of the prompt; the key of every cache.
        injection: float32, on the CPU.
    """

    digest: str
    injection: Injection


@dataclass(frozen=True, slots=True)
class Scoring:
    """A row, and continuations to score or a head that scores.

    Attributes:
        prompt: None for the bare backbone.
        row: its context and slot, or its image; its target is ignored.
        words: the continuations' token ids.
        head: what reads the state at the context's end instead, where there are no words.
    """

    prompt: Held | None
    row: Encoded
    words: tuple[tuple[int, ...], ...] = ()
    head: Head | None = None


@dataclass(frozen=True, slots=True)
class Embedding:
    """A row to embed, or an image in which to find a part.

    Attributes:
        prompt: None for the bare backbone.
        row: its context and slot, or its image.
    """

    prompt: Held | None
    row: Encoded


class PreparesImages(Protocol):
    """What decodes images for an engine that sees them, so that this need not be done there."""

    @property
    def image_positions(self) -> int:
        """How many positions an image takes in the model."""
        ...

    def prepare(
        self, image: Image, where: str | None = None, limits: ImageLimits | None = None
    ) -> Image:
        """The image as the engine takes it in soonest; from any thread.

        Args:
            where: what it is called in messages.
            limits: what it may have at most.

        Raises:
            CuecardError: an image that cannot be read, or one beyond the limits.
        """
        ...


class Guide(Protocol):
    """Which tokens may come next in one answer; advances with it."""

    @property
    def accepting(self) -> bool:
        """Whether the answer may end here."""
        ...

    @property
    def finished(self) -> bool:
        """Whether nothing may follow."""
        ...

    def allowed(self, vocabulary: int) -> Tensor:
        """[V] bool on the CPU: the tokens that may come next, end tokens left out.

        Raises:
            CuecardError: the grammar is too complex to follow.
        """
        ...

    def accept(self, token: int) -> None:
        """Append a token to the answer."""
        ...


class Grammar(Protocol):
    """The grammar of a constrained answer.

    Attributes:
        schema: a JSON schema, as JSON.
    """

    @property
    def schema(self) -> str: ...

    def guide(self) -> Guide:
        """A guide for one new answer."""
        ...


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen.

    Attributes:
        max_new_tokens: maximum number of tokens.
        temperature: 0 for greedy decoding.
        top_p: the share of the probability that tokens are drawn from.
        seed: makes sampling repeatable; None for a random one.
        stop_ids: ids that end the answer, besides the model's own end tokens.
        top_logprobs: how many of the likeliest tokens to report per position.
        grammar: None for any text.
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
    """A text to continue.

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
    """A generated token; the stop token is not reported.

    Attributes:
        logprob: under the model's own distribution, before temperature, `top_p` and grammar.
        top: the likeliest tokens of this position and their log-probabilities, likeliest first; as
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
        """Per row the summed log-probability of each word, or its head's outputs.

        Raises:
            CuecardError: a row that does not fit.
            EngineError: the engine failed.
        """
        ...


class Embeds(Protocol):
    """What makes vectors of texts or images.

    Attributes:
        embedding_size: H of the vectors; None where it makes none.
    """

    embedding_size: int | None

    async def embed(self, rows: Sequence[Embedding]) -> list[Tensor]:
        """Per row a vector [H] of unit length, float32 on the CPU.

        Raises:
            ConfigError: not supported; see `embedding_size`.
            CuecardError: a row that does not fit.
            EngineError: the engine failed.
        """
        ...


@runtime_checkable
class Segments(Protocol):
    """What finds parts of images; not every engine does."""

    async def segment(self, rows: Sequence[Embedding]) -> list[Tensor]:
        """Per row mask logits [C], float32 on the CPU.

        Raises:
            ConfigError: the backbone finds no parts of images.
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
    """Computes rows with any prompts; usable in this process, without a server.

    Attributes:
        name: such as "local".
        tokenizer: the backbone's.
        images: what prepares images, where the backbone sees them instead of reading texts; None
            for a language model.
        max_positions: maximum tokens of a row with its prompt and answer.
        dtype: the type of the backbone's numbers.
    """

    name: str
    tokenizer: Tokenizer
    images: PreparesImages | None
    max_positions: int
    dtype: torch.dtype

    def refuses(self, prompt: Prompt) -> None:
        """Check that a prompt can be used with this engine.

        Raises:
            WrongBackboneError: it was made for another backbone.
            CuecardError: another reason.
        """
        ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def hold(self, prompt: Held) -> None:
        """Prepare a prompt; no effect if it is."""
        ...

    async def drop(self, digest: str) -> None:
        """Release a prompt that is not used any more."""
        ...

    def stats(self) -> Mapping[str, float]:
        """Counters and gauges by name."""
        ...
