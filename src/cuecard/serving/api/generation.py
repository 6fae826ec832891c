"""Generate the answer of a completion or chat: a task's label, or text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TypeVar, cast

from cuecard.engine.protocol import Engine, Finished, Generation, Grammar, Sampling, Token
from cuecard.engine.text_stream import TextStream
from cuecard.serving.api.inputs import check_positions
from cuecard.serving.api.labels import prediction_of, score_labels
from cuecard.serving.http.context import RequestContext
from cuecard.serving.models.catalog import ServedPrompt
from cuecard.serving.protocol.errors import bad_request, head_not_served
from cuecard.serving.protocol.requests import GenerationRequest
from cuecard.serving.protocol.responses import Reason
from cuecard.serving.settings import Limits
from cuecard.tasks.encoding.label_words import LabelWords
from cuecard.types import Encoded

Value = TypeVar("Value")

_SEEDS = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class GenerationPlan:
    """What to generate for one input.

    Attributes:
        served: the prompt; None: the backbone alone.
        row: the context.
        samplings: one per choice; empty for a task's label.
        stops: texts that end the answer.
        strip: strip whitespace around the answer.
    """

    served: ServedPrompt | None
    row: Encoded
    samplings: tuple[Sampling, ...] = ()
    stops: tuple[str, ...] = ()
    strip: bool = False


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next part of a choice.

    Attributes:
        text: new text; may be empty in the last delta.
        tokens: the tokens since the last delta; a label has none.
        reason: why the choice ended; None if it continues.
    """

    text: str
    tokens: tuple[Token, ...] = ()
    reason: Reason | None = None


@dataclass(slots=True)
class GeneratedText:
    """A choice so far.

    Attributes:
        text: its text.
        tokens: its tokens; a label has none.
        reason: why it ended.
    """

    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    reason: Reason = "stop"

    def add(self, delta: TextDelta) -> None:
        """Append a delta."""
        self.text += delta.text
        self.tokens += delta.tokens
        self.reason = delta.reason or self.reason


def make_plan(
    request: GenerationRequest,
    served: ServedPrompt | None,
    row: Encoded,
    *,
    engine: Engine,
    limits: Limits,
    max_tokens: int | None,
    default_max_tokens: int,
    top_logprobs: int = 0,
    grammar: Grammar | None = None,
) -> GenerationPlan:
    """What a request asks for.

    Args:
        max_tokens: the request's maximum number of new tokens.
        default_max_tokens: used if the request has none; less if there is not enough room.
        top_logprobs: how many of the likeliest tokens to report per position.
        grammar: constrains the answer.

    Raises:
        APIError: more tokens than the server allows or the backbone has room for, or a prompt with
            a trained head of another kind than one label's.
    """
    if served is not None and served.has_other_head:
        raise head_not_served(request.model)
    if answers_with_label(served, request):
        return GenerationPlan(served, row)
    if max_tokens is not None and max_tokens > limits.max_new_tokens:
        raise bad_request(
            f"At most {limits.max_new_tokens} new tokens are generated.",
            "max_tokens",
            "max_tokens_too_large",
        )
    vectors = 0 if served is None else served.held.injection.length
    room = engine.max_positions - len(row.context) - vectors
    if max_tokens is None:
        max_tokens = max(1, min(default_max_tokens, room, limits.max_new_tokens))
    check_positions(engine, served, row, max_tokens)
    samplings = tuple(
        Sampling(
            max_new_tokens=max_tokens,
            temperature=request.temperature or 0.0,
            top_p=1.0 if request.top_p is None else request.top_p,
            # As in vLLM: choices differ from each other, and are the same every time.
            seed=None if request.seed is None else (request.seed + choice) & _SEEDS,
            top_logprobs=top_logprobs,
            grammar=grammar,
        )
        for choice in range(request.n or 1)
    )
    task = served is not None and not request.raw
    stops = request.stops
    own = served.spec.stop if served is not None and task else None
    if own is not None and not stops and grammar is None:
        stops = (own,)
    return GenerationPlan(served, row, samplings, stops, strip=task)


def answers_with_label(served: ServedPrompt | None, request: GenerationRequest) -> bool:
    """Whether the answer is one of a task's labels."""
    return served is not None and not request.raw and served.has_labels


def max_completion_tokens(engine: Engine, plan: GenerationPlan) -> int:
    """The maximum number of tokens of all choices."""
    if plan.samplings:
        return sum(sampling.max_new_tokens for sampling in plan.samplings)
    return _label_words(cast("ServedPrompt", plan.served), engine).longest


def _label_words(served: ServedPrompt, engine: Engine) -> LabelWords:
    """What a label counts as in tokens, also where a head gives it."""
    return served.spec.in_words.label_words(engine.tokenizer)


async def stream_choices(
    engine: Engine, plan: GenerationPlan, context: RequestContext
) -> AsyncGenerator[tuple[int, TextDelta], None]:
    """Deltas with the numbers of their choices; the last delta of each has a reason."""
    if not plan.samplings:
        yield 0, await _label(engine, plan, context)
        yield 0, TextDelta("", (), "stop")
        return
    held = None if plan.served is None else plan.served.held
    requests = [
        Generation(held, plan.row.context, plan.row.slot, sampling) for sampling in plan.samplings
    ]
    if len(requests) == 1:
        async with aclosing(_choice(engine.generate(requests[0]), engine, plan, context)) as choice:
            async for delta in choice:
                yield 0, delta
        return
    choices = engine.generate_choices(requests)
    try:
        texts = [_choice(choice, engine, plan, context) for choice in choices]
        async with aclosing(merge(texts)) as merged:
            async for number, delta in merged:
                yield number, delta
    finally:
        # Closing an iterator is what cancels its work, also for those that were never started.
        for each in choices:
            await cast("AsyncGenerator[Token | Finished, None]", each).aclose()


async def _choice(
    generation: AsyncIterator[Token | Finished],
    engine: Engine,
    plan: GenerationPlan,
    context: RequestContext,
) -> AsyncGenerator[TextDelta, None]:
    stream = TextStream(engine.tokenizer, plan.stops, plan.strip)
    reason: Reason = "stop"
    new: list[Token] = []
    # Closing it cancels the work, after a stop text and when the client has disconnected.
    async with aclosing(cast("AsyncGenerator[Token | Finished, None]", generation)) as tokens:
        async for token in tokens:
            if isinstance(token, Finished):
                reason = token.reason
                break
            new.append(token)
            context.count_token()
            if text := stream.add(token.id):
                yield TextDelta(text, tuple(new))
                new.clear()
            if stream.stopped:
                break
    if text := stream.end():
        yield TextDelta(text, tuple(new))
        new.clear()
    yield TextDelta("", tuple(new), "stop" if stream.stopped else reason)


async def stream_plans(
    engine: Engine, plans: Sequence[GenerationPlan], context: RequestContext
) -> AsyncGenerator[tuple[int, TextDelta], None]:
    """`stream_choices` of several plans, each choice with its number among those of all."""
    starts = [*accumulate((len(plan.samplings or (None,)) for plan in plans), initial=0)]
    choices = [stream_choices(engine, plan, context) for plan in plans]
    async with aclosing(merge(choices)) as merged:
        async for place, (number, delta) in merged:
            yield starts[place] + number, delta


async def generate(
    engine: Engine, plans: Sequence[GenerationPlan], context: RequestContext
) -> list[GeneratedText]:
    """All choices of all plans, complete."""
    generated = [GeneratedText() for plan in plans for _ in plan.samplings or (None,)]
    async with aclosing(stream_plans(engine, plans, context)) as deltas:
        async for number, delta in deltas:
            generated[number].add(delta)
    return generated


async def merge(
    streams: Sequence[AsyncGenerator[Value, None]],
) -> AsyncGenerator[tuple[int, Value], None]:
    """Values of several streams as they come, with the stream's number; a failure ends all."""
    queue: asyncio.Queue[tuple[int, Value] | Exception | None] = asyncio.Queue()

    async def read(number: int, stream: AsyncGenerator[Value, None]) -> None:
        try:
            async with aclosing(stream) as values:
                async for value in values:
                    queue.put_nowait((number, value))
        except Exception as error:  # noqa: BLE001 - raised again by the reader of the queue
            queue.put_nowait(error)
        else:
            queue.put_nowait(None)

    tasks = [asyncio.create_task(read(*pair)) for pair in enumerate(streams)]
    try:
        left = len(tasks)
        while left:
            item = await queue.get()
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


async def _label(engine: Engine, plan: GenerationPlan, context: RequestContext) -> TextDelta:
    served = cast("ServedPrompt", plan.served)
    (scores,) = await engine.score([score_labels(served, plan.row, engine)])
    answer = prediction_of(served, engine, scores)
    words = _label_words(served, engine).words
    context.completion_tokens += len(words[served.spec.labels.index(answer.answer)])
    return TextDelta(answer.answer)
