"""What runs in the next pass: a token of every answer being written, and as much else as fits.

Requests take turns, a row each, so that a long list of rows holds nobody up. Rows that are too long
for one pass run in several. A prompt whose keys and values are not there runs once, in front of the
first of its rows and in one pass with it; its other rows wait for the next. Such a first row need
not queue.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cuecard.backbones import CausalBackbone
from cuecard.backbones.forward.ragged import PassOutput, PrefillChunk, RaggedRun
from cuecard.backbones.kernels.decoding import Block
from cuecard.engine.local.chunks import scores_of
from cuecard.engine.local.decoder import Decoder, not_finite
from cuecard.engine.local.kv_cache import KVCacheManager
from cuecard.engine.local.requests import (
    ForkedRequest,
    GenerateRequest,
    Request,
    ScoreRequest,
    SequenceState,
)
from cuecard.engine.local.settings import LocalSettings
from cuecard.engine.protocol import Finished, Held
from cuecard.errors import CuecardError, EngineError

Event = tuple[Request, Any]

# Rows of new prompts that need not queue take one token in so many of a pass.
_JUMP = 4


@dataclass(frozen=True, slots=True)
class ScheduledChunk:
    """A chunk of the next pass.

    Attributes:
        lead: how many of its tokens are the row's prompt, to be kept; the row's own come behind.
    """

    chunk: PrefillChunk
    call: Request
    row: SequenceState
    lead: int = 0


@dataclass(frozen=True, slots=True)
class _Ready:
    """An answer whose context has run, and that has no room to begin yet.

    Attributes:
        logits: [1, V] for its first token.
        pieces: its context's keys and values.
    """

    call: GenerateRequest
    logits: Tensor
    pieces: tuple[Tensor, ...]


class Scheduler:
    """Belongs to one thread; gets calls, runs passes, and says what to tell whom."""

    def __init__(self, backbone: CausalBackbone, run: RaggedRun, settings: LocalSettings) -> None:
        self._name, self._run, self._room = backbone.name, run, settings.max_num_batched_tokens
        self._preparer = KVCacheManager(backbone, run, settings)
        self._decoder = Decoder(backbone, run, settings.max_num_seqs, settings.kv_cache_bytes)
        self._open: list[Request] = []
        self._calls: deque[Request] = deque()
        self._ready: list[_Ready] = []
        self._dropped: set[str] = set()
        self._events: list[Event] = []
        self._counts: Counter[str] = Counter()
        self._failed = False
        self._jump = self._room // _JUMP

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._open)

    def stats(self) -> Mapping[str, float]:
        """Counters and gauges by name."""
        cache = self._preparer.cache
        return {
            **self._counts,
            "failed": float(self._failed),
            "queue_rows": sum(len(call.rows) for call in tuple(self._calls)),
            "writing_rows": self._decoder.live,
            "answer_bytes": self._decoder.nbytes,
            "tokens_reused": self._preparer.reused,
            "prompt_cache_bytes": cache.nbytes,
            "prompt_cache_pinned_bytes": cache.pinned,
            "prompt_cache_entries": len(cache),
            "prompt_cache_hits": cache.hits,
            "prompt_cache_misses": cache.misses,
            "prompt_cache_evictions": cache.evictions,
        }

    def add(self, call: Request) -> None:
        """Take a request in."""
        self._open.append(call)
        if isinstance(call, ForkedRequest):
            self._open += call.answers
        self._line_up(call)
        new = max((answer.left for answer in _answers(call)), default=0)
        try:
            for row in call.rows:
                self._preparer.check(row, new)
        except CuecardError as error:
            self._end(call, error)

    def _line_up(self, call: Request) -> None:
        """Behind all others; in front of them for a new prompt, up to a share of the next pass."""
        row = call.rows[0]
        if self._jump > 0 and row.prompt is not None and self._preparer.is_new(row):
            self._jump -= row.prompt.injection.length + len(row.ids)
            self._calls.appendleft(call)
        else:
            self._calls.append(call)

    def refuse(self, prompt: Held) -> None:
        """See that a prompt fits; may be called from any thread.

        Raises:
            BackboneError: it does not.
        """
        self._preparer.check_prompt(prompt)

    def hold(self, digest: str) -> None:
        """A prompt that was dropped is wanted again."""
        self._dropped.discard(digest)

    def drop(self, digest: str) -> None:
        """Forget a prompt as soon as nobody uses it."""
        self._dropped.add(digest)
        self._sweep()

    def step(self) -> list[Event]:
        """Run one pass, if there is anything to run; what is to be told."""
        self._sweep()
        self._begin_ready()
        planned, blocks = self._plan(), self._decoder.next()
        if planned or blocks:
            self._pass(planned, blocks)
        return self._told()

    def fail_all(self, error: Exception) -> list[Event]:
        """End every request with an error."""
        self._decoder.drop_all()
        self._ready = []
        for call in self._open:
            self._end(call, error)
        return self._told()

    def _told(self) -> list[Event]:
        self._sweep()
        events, self._events = self._events, []
        return events

    def _pass(self, planned: list[ScheduledChunk], blocks: list[tuple[Block, Tensor]]) -> None:
        chunks = [one.chunk for one in planned]
        keep = any(one.lead or self._keeps(one) for one in planned)
        rows = sum(len(embeds) for _, embeds in blocks)
        tokens = rows + sum(len(chunk.embeds) for chunk in chunks)
        try:
            ran = self._run.run(blocks, chunks, keep)
        except (RuntimeError, MemoryError, CuecardError) as error:
            self._fail([one.call for one in planned], error)
            return
        self._failed = False
        self._counts.update(
            passes=1,
            tokens_computed=tokens,
            tokens_decoded=rows,
            rows_batched=rows + len(chunks),
            prompts_computed=sum(one.lead > 0 for one in planned),
        )
        self._tell(self._decoder.hear(ran.decoded))
        for number, one in enumerate(planned):
            self._after(one, ran, number)

    def _fail(self, calls: Iterable[Request], error: Exception) -> None:
        """The pass fell through: its requests get an error, the others go on."""
        self._failed = True
        self._counts.update(failures=1)
        told = EngineError("the engine failed", where=self._name, got=repr(error))
        for call in [*calls, *self._decoder.drop_all()]:
            self._end(call, told)

    # What runs.

    def _plan(self) -> list[ScheduledChunk]:
        room, planned = self._room, []
        self._jump = self._room // _JUMP
        for call, row in self._in_turn():
            try:
                found = self._next(call, row, room)
            except CuecardError as error:
                self._end(call, error)
                continue
            if found is not None:
                planned.append(found)
                room -= len(found.chunk.embeds)
            if room <= 0:
                break
        self._calls.rotate(-1)
        # A request that was refused half way runs no further.
        return [one for one in planned if not one.call.over]

    def _in_turn(self) -> Iterator[tuple[Request, SequenceState]]:
        """A row of each call, then the next of each."""
        queues = deque((call, iter(tuple(call.rows))) for call in self._calls)
        while queues:
            call, rows = queues.popleft()
            row = next(rows, None)
            if row is not None and not call.over:
                yield call, row
                queues.append((call, rows))

    def _next(self, call: Request, row: SequenceState, room: int) -> ScheduledChunk | None:
        """The row's next chunk, behind its prompt if that is new; None if it has to wait."""
        answers = _answers(call)
        if answers and not self._admits(answers[0]):
            return None
        prompt = self._preparer.prompt(row)
        if prompt is not None:
            whole = self._preparer.with_prompt(row, prompt, room)
            return ScheduledChunk(whole, call, row, len(prompt.embeds))
        if not self._preparer.has_prompt(row):
            return None
        chunk = self._preparer.chunk(row, room)
        return None if chunk is None else ScheduledChunk(chunk, call, row)

    # What comes of it.

    def _keeps(self, one: ScheduledChunk) -> bool:
        """Whether a row's own keys and values are needed afterwards."""
        return bool(_answers(one.call)) or self._preparer.keeps(one.row, one.chunk)

    def _after(self, one: ScheduledChunk, ran: PassOutput, number: int) -> None:
        call, row, lead, end = one.call, one.row, one.lead, len(one.chunk.embeds)
        if lead:
            self._preparer.prompt_ran(row, ran.keys_values(number, 0, lead))
        if lead == end:
            return
        if self._keeps(one):
            row.own = (*row.own, ran.keys_values(number, lead, end))
        row.done += end - lead
        if not one.chunk.reads:
            return
        call.rows.remove(row)
        if isinstance(call, ScoreRequest):
            self._score(call, row, ran.read[number])
        pieces = (*row.ahead, *row.own)
        self._ready += [_Ready(each, ran.read[number], pieces) for each in _answers(call)]
        call.over = call.over or isinstance(call, ForkedRequest)
        self._begin_ready()
        self._preparer.row_ran(row)

    def _admits(self, call: GenerateRequest) -> bool:
        """Whether there is room for an answer; those whose contexts have run come first."""
        return bool(call.reserved) or (not self._ready and self._decoder.reserve(call))

    def _begin_ready(self) -> None:
        """Let answers begin whose contexts have run, in their order, as far as there is room."""
        ready, self._ready = self._ready, []
        for one in ready:
            if one.call.over or one.call.cancelled:
                continue
            if self._admits(one.call):
                self._tell(self._decoder.begin(one.call, one.logits, one.pieces))
            else:
                self._ready.append(one)

    def _score(self, call: ScoreRequest, row: SequenceState, logits: Tensor) -> None:
        scores = scores_of(row.words, logits)
        if any(score != score for score in scores):
            self._end(call, not_finite(self._name))
            return
        self._counts.update(rows_scored=1)
        call.scores[row.number] = scores
        call.left -= 1
        if not call.left:
            self._end(call, call.scores)

    def _tell(self, said: Iterable[Event]) -> None:
        for call, item in said:
            self._counts.update(tokens_written=not isinstance(item, Finished | Exception))
            if not call.cancelled:
                self._events.append((call, item))

    def _end(self, call: Request, told: Any) -> None:
        """A request is over; who waits for it is told."""
        if call.over:
            return
        call.over = True
        if isinstance(call, ForkedRequest):
            for answer in call.answers:
                self._end(answer, told)
        elif not call.cancelled:
            self._events.append((call, told))

    def _sweep(self) -> None:
        """Let go of requests that are over, and of those that nobody waits for."""
        self._decoder.drop_cancelled()
        gone = [call for call in self._open if _is_over(call)]
        for call in gone:
            call.over = True
            for row in call.rows:
                self._preparer.let_go(row)
            call.rows.clear()
            if isinstance(call, GenerateRequest):
                self._decoder.release(call)
        if gone:
            self._open = [call for call in self._open if not call.over]
        self._calls = deque(call for call in self._calls if call.rows)
        for digest in tuple(self._dropped):
            if not any(digest in call.digests for call in self._open):
                self._dropped.remove(digest)
                self._preparer.forget(digest)


def _answers(call: Request) -> list[GenerateRequest]:
    """The answers that go on from a call's row."""
    if isinstance(call, ForkedRequest):
        return call.waiting
    return [call] if isinstance(call, GenerateRequest) else []


def _is_over(call: Request) -> bool:
    """Whether nobody waits for a call any more."""
    return call.over or call.cancelled or (isinstance(call, ForkedRequest) and not call.waiting)
