"""One answer as it is written: a task's label, or generated text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from cuecard.serving.answers import Reason
from cuecard.serving.classify import Question, ask, check_length
from cuecard.serving.engine import Engine, Finished, Generation, Sampling, Token
from cuecard.serving.limits import Limits
from cuecard.serving.refusals import bad_request, by_head
from cuecard.serving.requests import Generating
from cuecard.serving.shelf import Served
from cuecard.serving.text_stream import TextStream
from cuecard.serving.visit import Visit
from cuecard.types import Encoded

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be written.

    Attributes:
        served: the prompt; None for the backbone alone.
        row: the context.
        sampling: how; None for a task's likeliest label.
        stops: texts that end it.
        strip: without space around it.
    """

    served: Served | None
    row: Encoded
    sampling: Sampling | None
    stops: tuple[str, ...] = ()
    strip: bool = False


@dataclass(slots=True)
class Written:
    """What was written.

    Attributes:
        text: all of it.
        tokens: what was generated; none for a label.
        count: how many tokens it took.
        reason: why it ended.
    """

    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    count: int = 0
    reason: Reason = "stop"


def plan(
    request: Generating,
    served: Served | None,
    row: Encoded,
    *,
    engine: Engine,
    limits: Limits,
    wanted: int | None,
    usual: int,
) -> Job:
    """What a request asks for.

    Args:
        wanted: the most new tokens, as the request has it.
        usual: where it says nothing; less where there is no room for so many.

    Raises:
        Refusal: more tokens than are given, or than the backbone has room for, or a prompt with a
            trained head.
    """
    if served is not None and served.spec.headed:
        raise by_head(request.model)
    task = served is not None and not request.raw
    if served is not None and task and served.spec.kind == "classification":
        return Job(served, row, None)
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
    sampling = Sampling(
        max_new_tokens=most,
        temperature=request.temperature or 0.0,
        top_p=1.0 if request.top_p is None else request.top_p,
        seed=None if request.seed is None else request.seed & ((1 << 63) - 1),
    )
    return Job(served, row, sampling, request.stops, strip=task)


async def pieces(
    engine: Engine, job: Job, written: Written, visit: Visit
) -> AsyncGenerator[str, None]:
    """The answer's text piece by piece, none of them empty; `written` tells the rest at the end."""
    if job.sampling is None:
        text = await _label(engine, job, written)
        visit.completion_tokens += written.count
        yield text
        return
    stream = TextStream(engine.tokenizer, job.stops, job.strip)
    request = Generation(
        None if job.served is None else job.served.held,
        job.row.context,
        job.row.slot,
        job.sampling,
    )
    # Closing it is what ends the work, for an answer that is stopped and for a caller who is gone.
    generation = cast("AsyncGenerator[Token | Finished, None]", engine.generate(request))
    async with aclosing(generation) as tokens:
        async for token in tokens:
            if isinstance(token, Finished):
                written.reason = token.reason
                break
            written.tokens.append(token)
            written.count += 1
            visit.completion_tokens += 1
            if text := stream.add(token.id):
                written.text += text
                yield text
            if stream.stopped:
                written.reason = "stop"
                return
    if text := stream.end():
        written.text += text
        yield text
    if stream.stopped:
        written.reason = "stop"


async def write(engine: Engine, job: Job, visit: Visit) -> Written:
    """The whole answer."""
    written = Written()
    async for _ in pieces(engine, job, written, visit):
        pass
    return written


async def together(work: Sequence[Coroutine[Any, Any, Value]]) -> list[Value]:
    """All results; the first failure ends the others and is raised by itself."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


async def _label(engine: Engine, job: Job, written: Written) -> str:
    served = cast("Served", job.served)
    words = served.spec.label_words(engine.tokenizer)
    check_length(engine, served, job.row, words.longest)
    (answer,) = await ask(engine, [Question(served, job.row, words)])
    written.text = answer.answer
    written.count = len(words.words[served.spec.labels.index(answer.answer)])
    return answer.answer
