"""For backbones whose rows cannot be packed: batches run by the backbones' own means.

Encoder-decoders, masked models, and models that bring their own attention. A masked model runs rows
of any prompts together; the others run a batch of one prompt at a time. Nothing is kept, and
answers are told when they are whole.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from cuecard.backbones import MaskedBackbone
from cuecard.engine.local.decoder import not_finite
from cuecard.engine.local.requests import (
    EmbedRequest,
    GenerateRequest,
    Request,
    ScoreRequest,
    SequenceState,
)
from cuecard.engine.local.sampling import sample
from cuecard.engine.local.settings import LocalSettings
from cuecard.engine.protocol import Finished, Held, Token
from cuecard.errors import CuecardError, EngineError
from cuecard.tasks.encoding.batching import collate
from cuecard.tasks.encoding.pooling import embed_parts
from cuecard.types import Backbone, Batch, Encoded, Injection, Placement, Reads

_ROWS = 16

Event = tuple[Request, Any]
Pair = tuple[Request, SequenceState]
Continued = tuple[SequenceState, tuple[int, ...]]


class PaddedWorker:
    """Has the methods of a `Scheduler`; requests of one kind run together."""

    def __init__(self, backbone: Backbone, settings: LocalSettings) -> None:
        self._backbone, self._room = backbone, settings.max_num_batched_tokens
        self._mixes = isinstance(backbone, MaskedBackbone)
        self._calls: list[Request] = []
        self._events: list[Event] = []
        self._counts: Counter[str] = Counter()
        self._failed = False

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._calls)

    def stats(self) -> Mapping[str, float]:
        """Counters and gauges by name."""
        rows = sum(len(call.rows) for call in self._calls)
        return {**self._counts, "failed": float(self._failed), "queue_rows": rows}

    def add(self, call: Request) -> None:
        """Take a request in."""
        self._calls.append(call)

    def refuse(self, prompt: Held) -> None:
        """What does not fit shows when it runs."""

    def hold(self, digest: str) -> None:
        """Nothing is kept."""

    def drop(self, digest: str) -> None:
        """Nothing is kept."""

    def step(self) -> list[Event]:
        """Run one batch, of the request that has waited longest and those like it."""
        self._calls = [call for call in self._calls if call.rows and not call.cancelled]
        if self._calls:
            # Who had a turn goes behind those who had none.
            first = self._calls.pop(0)
            self._calls.append(first)
            self._run(self._like(first))
        events, self._events = self._events, []
        return [(call, told) for call, told in events if not call.cancelled]

    def fail_all(self, error: Exception) -> list[Event]:
        """End every request with an error."""
        events = [(call, error) for call in self._calls if not call.cancelled]
        self._calls = []
        return events

    def _like(self, first: Request) -> list[Pair]:
        """The first call's next row, and those that can run beside it."""
        kind, room = self._kind(first, first.rows[0]), self._room
        chosen: list[Pair] = []
        for call in (first, *self._calls[:-1]):
            for row in call.rows:
                if self._kind(call, row) == kind and len(chosen) < _ROWS and room > 0:
                    chosen.append((call, row))
                    room -= len(row.ids) * max(1, len(row.words))
        return chosen

    def _kind(self, call: Request, row: SequenceState) -> Hashable:
        """What rows of one batch have in common."""
        if isinstance(call, GenerateRequest):
            return row.digest, call.left, call.stops, len(row.ids)
        return type(call), "" if self._mixes else row.digest

    def _run(self, pairs: Sequence[Pair]) -> None:
        try:
            if isinstance(pairs[0][0], GenerateRequest):
                self._write([call for call, _ in pairs if isinstance(call, GenerateRequest)])
            elif isinstance(pairs[0][0], EmbedRequest):
                self._embed(pairs)
            else:
                self._score(pairs)
            self._failed = False
        except CuecardError as error:
            self._alone(pairs, error)
        except (RuntimeError, MemoryError) as error:
            self._failed = True
            name = self._backbone.name
            self._end(pairs, EngineError("the engine failed", where=name, got=repr(error)))

    def _alone(self, pairs: Sequence[Pair], error: CuecardError) -> None:
        """One row does not fit: find out which."""
        if len(pairs) == 1:
            self._end(pairs, error)
            return
        for pair in pairs:
            if not pair[0].over:
                self._run([pair])

    def _end(self, pairs: Sequence[Pair], error: CuecardError) -> None:
        for call, _ in pairs:
            call.rows.clear()
            if not call.over:
                call.over = True
                self._events.append((call, error))

    @torch.inference_mode()
    def _write(self, calls: Sequence[GenerateRequest]) -> None:
        backbone, first = self._backbone, calls[0]
        rows, injection = [call.row for call in calls], _injection(first.row)
        picker = _Picker(calls, backbone.name)
        backbone.generate(
            [row.ids for row in rows],
            [Placement.at(row.slot) for row in rows],
            injection,
            first.left,
            sorted(first.stops),
            pick=picker.pick,
        )
        for call in calls:
            call.rows.clear()
            call.over = True
        self._events += picker.events()
        self._counts.update(passes=1, rows_batched=len(rows), tokens_written=picker.written)

    @torch.inference_mode()
    def _score(self, pairs: Sequence[Pair]) -> None:
        groups = _by_prompt(pairs)
        found = self._logs([(_words(group), _injection(group[0][1])) for group in groups])
        self._counts.update(rows_scored=len(pairs))
        for group, logs in zip(groups, found, strict=True):
            sums = map(sum, logs)
            for call, row in group:
                self._scored(call, row, [next(sums) for _ in row.words])

    def _scored(self, call: Request, row: SequenceState, scores: list[float]) -> None:
        assert isinstance(call, ScoreRequest)
        if call.over:
            return
        call.rows.remove(row)
        if any(score != score for score in scores):
            self._end([(call, row)], not_finite(self._backbone.name))
            return
        call.scores[row.number] = scores
        if not call.rows:
            call.over = True
            self._events.append((call, call.scores))

    @torch.inference_mode()
    def _embed(self, pairs: Sequence[Pair]) -> None:
        groups = _by_prompt(pairs)
        parts = [([_encoded(row) for _, row in group], _injection(group[0][1])) for group in groups]
        found = embed_parts(self._backbone, parts)
        self._counts.update(passes=1, rows_batched=len(pairs), rows_embedded=len(pairs))
        for group, vectors in zip(groups, found, strict=True):
            for (call, row), vector in zip(group, vectors.cpu(), strict=True):
                self._embedded(call, row, vector)

    def _embedded(self, call: Request, row: SequenceState, vector: Tensor) -> None:
        assert isinstance(call, EmbedRequest)
        if call.over:
            return
        call.rows.remove(row)
        if bool(vector.isnan().any()):
            self._end([(call, row)], not_finite(self._backbone.name))
            return
        call.vectors[row.number] = vector
        if not call.rows:
            call.over = True
            vectors = [call.vectors[number] for number in range(len(call.vectors))]
            self._events.append((call, vectors))

    def _logs(
        self, parts: Sequence[tuple[Sequence[Continued], Injection | None]]
    ) -> list[list[list[float]]]:
        """Per part each continuation's tokens' log-probabilities."""
        batches = [collate([(_encoded(row), word) for row, word in words]) for words, _ in parts]
        there = [batch.to(self._backbone.device) for batch in batches]
        given = [(batch, injection) for batch, (_, injection) in zip(there, parts, strict=True)]
        found = self._backbone.read_many(given)
        self._counts.update(passes=1, rows_batched=sum(map(len, batches)))
        return [_by_row(batch, reads) for batch, reads in zip(there, found, strict=True)]


class _Picker:
    """Chooses the tokens of a batch of answers, and keeps what is to be told of them.

    Attributes:
        written: tokens so far.
    """

    def __init__(self, calls: Sequence[GenerateRequest], where: str) -> None:
        self._calls, self._where = calls, where
        self._said: list[list[Token]] = [[] for _ in calls]
        self._ends: dict[int, Finished | Exception] = {}
        self.written = 0

    def pick(self, logits: Tensor) -> Tensor:
        """The next tokens [n]; an answer that has ended gets a stop token from then on."""
        live = [row for row in range(len(self._calls)) if row not in self._ends]
        picked = [min(call.stops, default=0) for call in self._calls]
        found = sample(logits[live], [self._calls[row].sampler for row in live])
        for row, token in zip(live, found, strict=True):
            call = self._calls[row]
            if token is None:
                self._ends[row] = not_finite(self._where)
            elif isinstance(token, Exception):
                self._ends[row] = token
            elif token.id in call.stops:
                self._ends[row] = Finished("stop")
            else:
                picked[row] = token.id
                self._said[row].append(token)
                self.written += 1
                if call.sampler.finished:
                    self._ends[row] = Finished("stop")
        return torch.tensor(picked, device=logits.device)

    def events(self) -> list[Event]:
        """What to tell each answer."""
        found: list[Event] = []
        for row, call in enumerate(self._calls):
            found += [(call, token) for token in self._said[row]]
            found.append((call, self._ends.get(row, Finished("length"))))
        return found


def _words(pairs: Sequence[Pair]) -> list[Continued]:
    return [(row, word) for _, row in pairs for word in row.words]


def _by_prompt(pairs: Sequence[Pair]) -> list[list[Pair]]:
    groups: defaultdict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[pair[1].digest].append(pair)
    return list(groups.values())


def _by_row(batch: Batch, reads: Reads) -> list[list[float]]:
    logs = (-reads.nll(batch.target_ids).double()).tolist()
    by_row = groupby(zip(batch.read_rows.tolist(), logs, strict=True), lambda pair: pair[0])
    return [[log for _, log in pairs] for _, pairs in by_row]


def _encoded(row: SequenceState) -> Encoded:
    return Encoded(row.ids, (), Placement.at(row.slot), mask=row.mask)


def _injection(row: SequenceState) -> Injection | None:
    return None if row.prompt is None else row.prompt.injection
