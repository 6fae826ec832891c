"""Requests and their sequences as a worker sees them, and how far each has come."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from cuecard.engine.local.prompt_cache import Key
from cuecard.engine.local.sampling import TokenSampler
from cuecard.engine.protocol import Embedding, Finished, Generation, Held, Scoring, Token
from cuecard.errors import ConfigError, CuecardError
from cuecard.types import Encoded, Head, Image, InputTokens, Placement, PrefixKV, Region

# Runs on the event loop: takes a request's result, one of its tokens, or an error.
Deliver = Callable[[Any], None]

AnswerItem = Token | Finished | CuecardError
"""What an answer delivers: its tokens, then its end or why it has none."""


class SequenceStatus(Enum):
    """How far a sequence has come."""

    WAITING = auto()
    """Nothing of it has been scheduled."""
    PREFILLING = auto()
    """Its context runs, chunk by chunk."""
    PREFILLED = auto()
    """It has its first token, and waits for a place among the answers being decoded."""
    RUNNING = auto()
    """It gets a token per pass."""
    FINISHED = auto()
    FINISHED_CANCELLED = auto()
    FINISHED_FAILED = auto()


@dataclass(eq=False, slots=True)
class SequenceState:
    """One row of token ids with its prompt. Its tokens are numbered without a prompt in front.

    Attributes:
        number: its index in its request.
        prompt: None for the bare backbone.
        ids: the context.
        slot: how many of them come before the prompt.
        words: continuations to score.
        mask: the index in the context that they replace; None where they follow it.
        head: what reads its last state instead.
        images: what is seen instead of a context.
        image_positions: how many positions these take.
        region: the part of the image that is asked for; None where none is.
        computed: how many of its tokens have run.
        prefix: what the ids have in common with other contexts, empty for nothing; None until it
            is looked for.
        cached: how many of the ids come from the prefix cache; these are not among its tokens.
        to_cache: the prefix of the ids whose keys and values go to the prefix cache, until they do.
        pins: its entries in the cache, in the order in which they precede its tokens.
        tails: per continuation of more than one token, how many of its tokens run.
    """

    number: int
    prompt: Held | None
    ids: tuple[int, ...]
    slot: int = 0
    words: tuple[tuple[int, ...], ...] = ()
    mask: int | None = None
    head: Head | None = None
    images: tuple[Image, ...] = ()
    image_positions: int = 0
    region: Region | None = None
    status: SequenceStatus = SequenceStatus.WAITING
    computed: int = 0
    prefix: tuple[int, ...] | None = None
    cached: int = 0
    to_cache: tuple[int, ...] = ()
    pins: list[Key] = field(default_factory=list)
    tails: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.tails = tuple(len(word) - 1 for word in self.words if len(word) > 1)

    @classmethod
    def of(
        cls,
        number: int,
        prompt: Held | None,
        row: Encoded,
        words: tuple[tuple[int, ...], ...] = (),
        head: Head | None = None,
    ) -> SequenceState:
        """The sequence of an input that is given as a row."""
        return cls(
            number,
            prompt,
            row.context,
            row.slot,
            words,
            row.mask,
            head,
            row.images,
            row.image_positions,
            row.region,
        )

    @property
    def row(self) -> Encoded:
        """Its input as it was given."""
        return Encoded(
            self.ids,
            (),
            Placement.at(self.slot),
            mask=self.mask,
            images=self.images,
            image_positions=self.image_positions,
            region=self.region,
        )

    @property
    def digest(self) -> str:
        """Of its prompt; "" for none."""
        return "" if self.prompt is None else self.prompt.digest

    @property
    def context_digest(self) -> str:
        """Of the prompt that its first tokens see; "" for none."""
        return "" if self.late else self.digest

    @property
    def prompt_key(self) -> Key:
        """Of its prompt's keys and values in the cache."""
        return self.digest, ()

    @property
    def prompt_tokens(self) -> int:
        """Positions of its prompt."""
        return 0 if self.prompt is None else self.prompt.injection.length

    @property
    def pooled(self) -> tuple[int, ...]:
        """The layers whose values its head reads; empty for none."""
        return () if self.head is None else self.head.layers

    @property
    def late(self) -> bool:
        """Whether its prompt is of keys and values that are seen from the slot on alone."""
        injection = None if self.prompt is None else self.prompt.injection
        return isinstance(injection, PrefixKV) and injection.late

    @property
    def sees_prompt(self) -> bool:
        """Whether its next tokens see a prompt of keys and values, or one in front."""
        return not self.late or self.cached + self.computed >= self.slot

    @property
    def prompt_first(self) -> bool:
        """Whether its whole prompt precedes it, so that the prompt's keys and values are cached."""
        injection = None if self.prompt is None else self.prompt.injection
        # One that depends on the context has other keys and values in every sequence.
        own = isinstance(injection, InputTokens) and injection.mix is not None
        first = isinstance(injection, PrefixKV) or (self.slot == 0 and not own)
        return bool(self.prompt_tokens) and first

    @property
    def inline_tokens(self) -> int:
        """Positions of its prompt that run among its own tokens."""
        return 0 if self.prompt_first else self.prompt_tokens

    @property
    def num_tokens(self) -> int:
        """How many tokens run, those of continuations included."""
        return len(self.ids) - self.cached + self.inline_tokens + sum(self.tails)

    def next_tokens(self, room: int, least: int) -> int:
        """How many tokens can run now; 0 if the room is too small.

        Continuations and the token before them stay together: logits are read there.

        Args:
            least: no chunk but the last is smaller.
        """
        if not self.sees_prompt:
            left = self.slot - self.cached - self.computed
            return left if left <= room else room * (room >= least)
        left = self.num_tokens - self.computed
        trunk = left - sum(self.tails)
        if left <= room or trunk == 1:
            return left
        count = min(room, trunk - 1)
        return 0 if count < min(least, trunk - 1) else count


class Request:
    """One or more sequences, and who waits for them.

    Attributes:
        waiting: sequences whose contexts have not run to the end, in order.
        cancelled: set on the event loop when nobody waits any more.
    """

    def __init__(self, sequences: Sequence[SequenceState], deliver: Deliver) -> None:
        self.sequences, self.waiting = tuple(sequences), deque(sequences)
        self.digests = {sequence.digest for sequence in sequences}
        self.deliver, self.cancelled = deliver, False
        self._queued_at: float | None = time.perf_counter()
        self._unfinished = len(sequences)
        for each in sequences:
            _check(each)

    @property
    def finished(self) -> bool:
        """Whether all sequences are."""
        return not self._unfinished

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.cancelled

    @property
    def answers(self) -> tuple[GenerateRequest, ...]:
        """The answers that continue from its sequence, cancelled and finished ones left out."""
        return ()

    def begin(self, counts: Counter[str]) -> None:
        """Its first pass begins: count it, and how long it has queued."""
        if self._queued_at is not None:
            counts["requests_begun"] += 1
            counts["queue_seconds"] += time.perf_counter() - self._queued_at  # type: ignore[assignment]
            self._queued_at = None

    def finish_one(self, sequence: SequenceState) -> None:
        """A sequence has its result."""
        sequence.status = SequenceStatus.FINISHED
        self._unfinished -= 1

    def finish(self, status: SequenceStatus) -> None:
        """End every sequence that has not finished."""
        for sequence in self.sequences:
            if sequence.status is not SequenceStatus.FINISHED:
                sequence.status = status
        self.waiting.clear()
        self._unfinished = 0


class BatchRequest(Request):
    """Sequences with one result each, delivered together."""

    def __init__(self, sequences: Sequence[SequenceState], deliver: Deliver) -> None:
        super().__init__(sequences, deliver)
        self.results: list[Any] = [None] * len(sequences)


class ScoreRequest(BatchRequest):
    """Continuations to score, or heads' outputs; a sequence's result is a list of numbers."""

    def __init__(self, rows: Sequence[Scoring], deliver: Deliver) -> None:
        made = [
            SequenceState.of(number, each.prompt, each.row, each.words, each.head)
            for number, each in enumerate(rows)
        ]
        super().__init__(made, deliver)
        for sequence in made:
            headed = sequence.head is not None
            if bool(sequence.words) is headed or not all(sequence.words):
                raise ConfigError(
                    "a row has no words to score",
                    where=f"row {sequence.number}",
                    got="no word, an empty one, or a head beside them",
                    expected="the token ids of one or more words, or a head",
                )


class EmbedRequest(BatchRequest):
    """Texts or images to embed; a sequence's result is a vector [H]."""

    def __init__(self, rows: Sequence[Embedding], deliver: Deliver) -> None:
        made = [SequenceState.of(number, each.prompt, each.row) for number, each in enumerate(rows)]
        super().__init__(made, deliver)


class SegmentRequest(BatchRequest):
    """Images in which to find a part; a sequence's result is mask logits [C]."""

    def __init__(self, rows: Sequence[Embedding], deliver: Deliver) -> None:
        made = [SequenceState.of(number, each.prompt, each.row) for number, each in enumerate(rows)]
        super().__init__(made, deliver)


class GenerateRequest(Request):
    """One answer; each token is delivered, then the end.

    Attributes:
        left: how many tokens may still come.
        last: the token that runs next.
        reserved: bytes reserved for its keys and values; 0 for none.
    """

    def __init__(self, request: Generation, stops: frozenset[int], deliver: Deliver) -> None:
        self.sequence = SequenceState(0, request.prompt, request.context, request.slot)
        super().__init__([self.sequence], deliver)
        sampling = request.sampling
        if sampling.max_new_tokens < 1 or sampling.temperature < 0 or not 0 < sampling.top_p <= 1:
            raise ConfigError(
                "sampling parameters out of range",
                got=f"max_new_tokens {sampling.max_new_tokens}, "
                f"temperature {sampling.temperature}, top_p {sampling.top_p}",
                expected="max_new_tokens >= 1, temperature >= 0, 0 < top_p <= 1",
            )
        self.stops, self.sampler = stops, TokenSampler(sampling, stops)
        self.left = self._most = sampling.max_new_tokens
        self.last = -1
        self.reserved = 0

    @property
    def answers(self) -> tuple[GenerateRequest, ...]:
        """Itself."""
        return () if self.finished or self.cancelled else (self,)

    @property
    def max_length(self) -> int:
        """Tokens of context, prompt and the longest answer."""
        return self.sequence.prompt_tokens + len(self.sequence.ids) + self.left

    @property
    def shifts(self) -> int:
        """How many of its first tokens its prompt shifts."""
        prompt = self.sequence.prompt
        injection = None if prompt is None else prompt.injection
        given = injection.shifts if isinstance(injection, InputTokens) else None
        return 0 if given is None else len(given)

    @property
    def place(self) -> int:
        """Index of the last token, the prompt not counted."""
        return len(self.sequence.ids) + self._most - self.left - 1

    def ends_with(self, token: Token | CuecardError) -> Finished | CuecardError | None:
        """How a sampled token, or why there is none, ends the answer; None if it goes on."""
        if isinstance(token, CuecardError):
            return token
        if token.id in self.stops or self.sampler.finished:
            return Finished("stop")
        return Finished("length") if self.left == 1 else None

    def take(self, token: Token | CuecardError) -> list[AnswerItem]:
        """Append a sampled token; what is to be delivered. The last item is no token at the end."""
        end = self.ends_with(token)
        items: list[AnswerItem] = []
        if isinstance(token, Token) and token.id not in self.stops:
            items.append(token)
            self.left -= 1
            self.last = token.id
        return items if end is None else [*items, end]


class ForkedRequest(Request):
    """A context that runs once, and that several answers continue from.

    Attributes:
        choices: all its answers, each of which delivers for itself.
    """

    def __init__(self, choices: Sequence[GenerateRequest]) -> None:
        first = choices[0].sequence
        context = SequenceState(0, first.prompt, first.ids, first.slot)
        super().__init__([context], choices[0].deliver)
        self.choices = tuple(choices)

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for any of the answers."""
        return not self.answers

    @property
    def answers(self) -> tuple[GenerateRequest, ...]:
        """Those that somebody waits for."""
        return tuple(each for each in self.choices if not (each.finished or each.cancelled))


def _check(sequence: SequenceState) -> None:
    count, slot = len(sequence.ids), sequence.slot
    if not (count or sequence.images) or not 0 <= slot <= count:
        raise ConfigError(
            "a row cannot be run",
            where=f"row {sequence.number}",
            got=f"{count} tokens and slot {slot}",
            expected="one token or more, and a slot from 0 to their number",
        )
