"""Decide what runs in the next pass, with integers alone.

A pass has a token of every answer being decoded, and as many other tokens as fit. Requests take
turns, a sequence each, so that a long list holds nobody up. Sequences that are too long for one
pass run in chunks. A prompt that is not cached runs once, in front of the first of its sequences
and in one pass with it; its other sequences wait for the next. Such a first sequence need not
queue. Contexts that share a long prefix wait for the one that computes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from cuecard.engine.local.kv_cache import KVCacheManager
from cuecard.engine.local.requests import GenerateRequest, Request, SequenceState, SequenceStatus

# Sequences of new prompts that need not queue take one token in so many of a pass.
_JUMP = 4
# A sequence is not cut into chunks smaller than this to fill a pass.
_LEAST = 32


@dataclass(frozen=True, slots=True)
class ScheduledChunk:
    """Tokens of one sequence that run in the next pass.

    Attributes:
        prompt_tokens: tokens of its prompt that run in front, to be cached; 0 for none.
        start, end: which of the sequence's own tokens.
        answers: those that continue from its end.
        starting: how many of them, the first ones, have a place among the answers being decoded.
    """

    request: Request
    sequence: SequenceState
    prompt_tokens: int
    start: int
    end: int
    answers: tuple[GenerateRequest, ...] = ()
    starting: int = 0

    @property
    def num_tokens(self) -> int:
        """All that run."""
        return self.prompt_tokens + self.end - self.start

    @property
    def is_last(self) -> bool:
        """Whether the sequence ends with it, so that logits are read."""
        return self.end == self.sequence.num_tokens

    @property
    def is_kept(self) -> bool:
        """Whether the own tokens' keys and values are needed after the pass."""
        more = self.answers or self.sequence.to_cache or not self.is_last
        return self.end > self.start and bool(more)


@dataclass(frozen=True, slots=True)
class SchedulerOutput:
    """What runs.

    Attributes:
        chunks: of contexts.
        admitted: answers whose contexts have run before, and that get a place only now.
    """

    chunks: list[ScheduledChunk]
    admitted: list[GenerateRequest]


class Scheduler:
    """Holds the queue.

    Args:
        max_num_batched_tokens: of all chunks of a pass.
    """

    def __init__(self, cache: KVCacheManager, max_num_batched_tokens: int) -> None:
        self._cache, self._budget = cache, max_num_batched_tokens
        self._queue: deque[Request] = deque()
        self._prefilled: deque[GenerateRequest] = deque()
        self._jump = self._budget // _JUMP

    @property
    def queued(self) -> int:
        """Sequences whose contexts have not run to the end."""
        return sum(len(request.waiting) for request in tuple(self._queue))

    def add(self, request: Request) -> None:
        """Queue a request; in front of all for a new prompt, up to a share of the next pass."""
        first = request.waiting[0]
        if self._jump > 0 and self._cache.is_new(first):
            self._jump -= first.prompt_tokens + len(first.ids)
            self._queue.appendleft(request)
        else:
            self._queue.append(request)

    def postpone(self, answer: GenerateRequest) -> None:
        """Let an answer whose context has run wait for a place."""
        answer.sequence.status = SequenceStatus.PREFILLED
        self._prefilled.append(answer)

    def remove_finished(self) -> None:
        """Forget what has finished."""
        self._queue = deque(each for each in self._queue if each.waiting)
        self._prefilled = deque(each for each in self._prefilled if not each.finished)

    def schedule(self) -> SchedulerOutput:
        """Decide what runs next."""
        admitted = self._admit()
        room, chunks = self._budget, []
        self._jump = self._budget // _JUMP
        for request, sequence in self._in_turn():
            chunk = self._chunk(request, sequence, room)
            if chunk is not None:
                chunks.append(chunk)
                room -= chunk.num_tokens
            if room <= 0:
                break
        self._queue.rotate(-1)
        return SchedulerOutput(chunks, admitted)

    def _admit(self) -> list[GenerateRequest]:
        """The answers that get their place now, in the order in which their contexts have run."""
        admitted = []
        while self._prefilled and self._cache.reserve(self._prefilled[0]):
            admitted.append(self._prefilled.popleft())
            admitted[-1].sequence.status = SequenceStatus.RUNNING
        return admitted

    def _in_turn(self) -> Iterator[tuple[Request, SequenceState]]:
        """A sequence of each request, then the next of each."""
        queues = deque((request, iter(tuple(request.waiting))) for request in self._queue)
        while queues:
            request, waiting = queues.popleft()
            sequence = next(waiting, None)
            if sequence is not None:
                yield request, sequence
                queues.append((request, waiting))

    def _chunk(self, request: Request, sequence: SequenceState, room: int) -> ScheduledChunk | None:
        """A sequence's next chunk, after its prompt if that is new; None if it has to wait."""
        answers = request.answers
        if answers and not self._has_place(answers[0]):
            return None
        prompt_tokens = self._cache.pin_prompt(sequence)
        if prompt_tokens is None:
            return None
        if sequence.status is SequenceStatus.WAITING:
            if not self._cache.pin_prefix(sequence, prompt_runs=prompt_tokens > 0):
                return None
            sequence.status = SequenceStatus.PREFILLING
        least = min(_LEAST, self._budget)
        count = sequence.next_tokens(room - prompt_tokens, least)
        if not prompt_tokens + count:
            return None
        start, end = sequence.computed, sequence.computed + count
        starting = 0
        if end == sequence.num_tokens:
            while starting < len(answers) and self._has_place(answers[starting]):
                starting += 1
        return ScheduledChunk(request, sequence, prompt_tokens, start, end, answers, starting)

    def _has_place(self, answer: GenerateRequest) -> bool:
        """Whether an answer has a place or gets one; those whose contexts have run come first."""
        return bool(answer.reserved) or (not self._prefilled and self._cache.reserve(answer))
