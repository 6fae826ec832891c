"""One answer as it is written: a task's label, or generated text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, TypeVar, cast

from cuecard.serving.answers import Reason
from cuecard.serving.classify import Question, ask, check_length
from cuecard.serving.engine import Engine, Finished, Generation, Grammar, Sampling, Token
from cuecard.serving.limits import Limits
from cuecard.serving.refusals import bad_request, by_head
from cuecard.serving.requests import Generating
from cuecard.serving.shelf import Served
from cuecard.serving.text_stream import TextStream
from cuecard.serving.visit import Visit
from cuecard.types import Encoded

Value = TypeVar("Value")

_SEEDS = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be written.

    Attributes:
        served: the prompt; None for the backbone alone.
        row: the context.
        sampling: how, a choice each; none for a task's likeliest label.
        stops: texts that end it.
        strip: without space around it.
    """

    served: Served | None
    row: Encoded
    samplings: tuple[Sampling, ...] = ()
    stops: tuple[str, ...] = ()
    strip: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """More of a choice.

    Attributes:
        text: none only at the end.
        tokens: those that came since the piece before; a label has none.
        reason: why it ended; None while it goes on.
    """

    text: str
    tokens: tuple[Token, ...] = ()
    reason: Reason | None = None


@dataclass(slots=True)
class Written:
    """What was written.

    Attributes:
        text: all of it.
        tokens: what was generated; none for a label.
        reason: why it ended.
    """

    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    reason: Reason = "stop"

    def add(self, piece: Piece) -> None:
        """Put a piece behind it."""
        self.text += piece.text
        self.tokens += piece.tokens
        self.reason = piece.reason or self.reason


def plan(
    request: Generating,
    served: Served | None,
    row: Encoded,
    *,
    engine: Engine,
    limits: Limits,
    wanted: int | None,
    usual: int,
    top_logprobs: int = 0,
    grammar: Grammar | None = None,
) -> Job:
    """What a request asks for.

    Args:
        wanted: the most new tokens, as the request has it.
        usual: where it says nothing; less where there is no room for so many.
        top_logprobs: how many of the likeliest tokens are reported in each place.
        grammar: what the answer has to look like.

    Raises:
        Refusal: more tokens than are given, or than the backbone has room for, or a prompt with a
            trained head.
    """
    if served is not None and served.spec.headed:
        raise by_head(request.model)
    if labels(served, request):
        return Job(served, row)
    if wanted is not None and wanted > limits.new_tokens:
        raise bad_request(
            f"At most {limits.new_tokens} new tokens are given.",
            "max_tokens",
            "max_tokens_too_large",
        )
    vectors = 0 if served is None else served.held.injection.length
    room = engine.max_positions - len(row.context) - vectors
    most = max(1, min(usual, room, limits.new_tokens)) if wanted is None else wanted
    check_length(engine, served, row, most)
    samplings = tuple(
        Sampling(
            max_new_tokens=most,
            temperature=request.temperature or 0.0,
            top_p=1.0 if request.top_p is None else request.top_p,
            # As vLLM does it: each choice draws in its own way, and the same one every time.
            seed=None if request.seed is None else (request.seed + choice) & _SEEDS,
            top_logprobs=top_logprobs,
            grammar=grammar,
        )
        for choice in range(request.n or 1)
    )
    task = served is not None and not request.raw
    return Job(served, row, samplings, request.stops, strip=task)


def labels(served: Served | None, request: Generating) -> bool:
    """Whether a request is answered by a task's label."""
    return served is not None and not request.raw and served.spec.kind == "classification"


def longest(engine: Engine, job: Job) -> int:
    """The most tokens that a job's answers can take together."""
    if job.samplings:
        return sum(sampling.max_new_tokens for sampling in job.samplings)
    return max(map(len, cast("Served", job.served).spec.continuations(engine.tokenizer)))


async def pieces(engine: Engine, job: Job, visit: Visit) -> AsyncGenerator[tuple[int, Piece], None]:
    """What is written piece by piece, with the number of its choice; each ends with a reason."""
    if not job.samplings:
        yield 0, await _label(engine, job, visit)
        yield 0, Piece("", (), "stop")
        return
    held = None if job.served is None else job.served.held
    requests = [
        Generation(held, job.row.context, job.row.slot, sampling) for sampling in job.samplings
    ]
    if len(requests) == 1:
        async with aclosing(_choice(engine.generate(requests[0]), engine, job, visit)) as choice:
            async for piece in choice:
                yield 0, piece
        return
    choices = engine.generate_choices(requests)
    try:
        texts = [_choice(choice, engine, job, visit) for choice in choices]
        async with aclosing(merged(texts)) as both:
            async for number, piece in both:
                yield number, piece
    finally:
        # Also those that were never started: closing is what ends the work.
        for each in choices:
            await cast("AsyncGenerator[Token | Finished, None]", each).aclose()


async def _choice(
    generation: AsyncIterator[Token | Finished], engine: Engine, job: Job, visit: Visit
) -> AsyncGenerator[Piece, None]:
    stream = TextStream(engine.tokenizer, job.stops, job.strip)
    reason: Reason = "stop"
    told: list[Token] = []
    # Closing it is what ends the work, for an answer that is stopped and for a caller who is gone.
    async with aclosing(cast("AsyncGenerator[Token | Finished, None]", generation)) as tokens:
        async for token in tokens:
            if isinstance(token, Finished):
                reason = token.reason
                break
            told.append(token)
            visit.completion_tokens += 1
            if text := stream.add(token.id):
                yield Piece(text, tuple(told))
                told.clear()
            if stream.stopped:
                break
    if text := stream.end():
        yield Piece(text, tuple(told))
        told.clear()
    yield Piece("", tuple(told), "stop" if stream.stopped else reason)


async def all_pieces(
    engine: Engine, jobs: Sequence[Job], visit: Visit
) -> AsyncGenerator[tuple[int, Piece], None]:
    """The choices of several jobs as they come, each with its number among those of all."""
    starts = [*accumulate((len(job.samplings or (None,)) for job in jobs), initial=0)]
    async with aclosing(merged([pieces(engine, job, visit) for job in jobs])) as made:
        async for job, (number, piece) in made:
            yield starts[job] + number, piece


async def write(engine: Engine, job: Job, visit: Visit) -> list[Written]:
    """The whole of every choice."""
    written = [Written() for _ in job.samplings or (None,)]
    async with aclosing(pieces(engine, job, visit)) as made:
        async for number, piece in made:
            written[number].add(piece)
    return written


async def merged(
    streams: Sequence[AsyncGenerator[Value, None]],
) -> AsyncGenerator[tuple[int, Value], None]:
    """What several streams give as it comes, each with its number; the first failure ends all."""
    said: asyncio.Queue[tuple[int, Value] | Exception | None] = asyncio.Queue()

    async def follow(number: int, stream: AsyncGenerator[Value, None]) -> None:
        try:
            async with aclosing(stream) as values:
                async for value in values:
                    said.put_nowait((number, value))
        except Exception as error:  # noqa: BLE001 - raised again where the streams are read
            said.put_nowait(error)
        else:
            said.put_nowait(None)

    tasks = [asyncio.create_task(follow(*pair)) for pair in enumerate(streams)]
    try:
        left = len(tasks)
        while left:
            item = await said.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                left -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def together(work: Sequence[Coroutine[Any, Any, Value]]) -> list[Value]:
    """All results; the first failure ends the others and is raised by itself."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


async def _label(engine: Engine, job: Job, visit: Visit) -> Piece:
    served = cast("Served", job.served)
    words = served.spec.label_words(engine.tokenizer)
    check_length(engine, served, job.row, words.longest)
    (answer,) = await ask(engine, [Question(served, job.row, words)])
    visit.completion_tokens += len(words.words[served.spec.labels.index(answer.answer)])
    return Piece(answer.answer)
