"""The worker for backbones whose rows cannot be packed: padded batches by the backbones' own means.

Encoder-decoders, masked models, models of images, and models that bring their own attention. Masked
models and those of images run rows of any prompts together; the others run a batch of one prompt at
a time. Nothing is cached but what no prompt can change of images, and answers are delivered when
they are complete.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from cuecard.backbones import MaskedBackbone, SegmentationBackbone, VisionBackbone
from cuecard.engine.local.requests import (
    AnswerItem,
    BatchRequest,
    EmbedRequest,
    ForkedRequest,
    GenerateRequest,
    Request,
    SegmentRequest,
    SequenceState,
    SequenceStatus,
)
from cuecard.engine.local.sampling import not_finite, sample
from cuecard.engine.local.settings import LocalSettings
from cuecard.engine.local.worker import RequestOutput
from cuecard.engine.protocol import Held, Token
from cuecard.errors import CuecardError, EngineError
from cuecard.tasks.encoding.batching import collate, image_batch
from cuecard.tasks.encoding.head_inputs import HeadRows, read_for_heads
from cuecard.tasks.encoding.pooling import embed_parts
from cuecard.types import Backbone, Batch, Injection, Placement, Reads

_ROWS = 16

Pair = tuple[Request, SequenceState]
Continued = tuple[SequenceState, tuple[int, ...]]


class PaddedWorker:
    """Requests of one kind run together in padded batches."""

    def __init__(self, backbone: Backbone, settings: LocalSettings) -> None:
        self._backbone, self._room = backbone, settings.max_num_batched_tokens
        mixing = MaskedBackbone | VisionBackbone | SegmentationBackbone
        self._mixes = isinstance(backbone, mixing)
        self._requests: list[Request] = []
        self._outputs: list[RequestOutput] = []
        self._counts: Counter[str] = Counter()
        self._failed = False

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._requests)

    def stats(self) -> Mapping[str, float]:
        """Counters and gauges by name."""
        rows = sum(len(request.waiting) for request in self._requests)
        return {**self._counts, "failed": float(self._failed), "queue_rows": rows}

    def check_prompt(self, prompt: Held) -> None:
        """What does not fit shows when it runs."""

    def hold(self, digest: str) -> None:
        """Nothing is cached."""

    def drop(self, digest: str) -> None:
        """Nothing is cached."""

    def add(self, request: Request) -> None:
        """Queue a request; the answers of a forked one run a context each."""
        self._requests += request.choices if isinstance(request, ForkedRequest) else [request]

    def step(self) -> list[RequestOutput]:
        """Run one batch, of the request that has waited longest and those like it."""
        self._requests = [each for each in self._requests if each.waiting and not each.cancelled]
        if self._requests:
            pairs = self._schedule()
            for request, _ in pairs:
                request.begin(self._counts)
            self._run(pairs)
        outputs, self._outputs = self._outputs, []
        return [(request, item) for request, item in outputs if not request.cancelled]

    def fail_all(self, error: Exception) -> list[RequestOutput]:
        """End every request with an error."""
        self._end(self._requests, error)
        self._requests, outputs, self._outputs = [], self._outputs, []
        return [(request, item) for request, item in outputs if not request.cancelled]

    def _schedule(self) -> list[Pair]:
        """The first request's next sequence, and those that can run beside it."""
        # A request that had a turn goes after those that had none.
        first = self._requests.pop(0)
        self._requests.append(first)
        kind, room = self._kind(first, first.waiting[0]), self._room
        chosen: list[Pair] = []
        for request in (first, *self._requests[:-1]):
            for sequence in request.waiting:
                if self._kind(request, sequence) == kind and len(chosen) < _ROWS and room > 0:
                    chosen.append((request, sequence))
                    room -= sequence.row.positions * max(1, len(sequence.words))
        return chosen

    def _kind(self, request: Request, sequence: SequenceState) -> Hashable:
        """What sequences of one batch have in common."""
        if isinstance(request, GenerateRequest):
            return sequence.digest, request.left, request.stops, len(sequence.ids)
        return type(request), sequence.head is None, "" if self._mixes else sequence.digest

    def _run(self, pairs: Sequence[Pair]) -> None:
        try:
            results = self._results(pairs)
        except CuecardError as error:
            self._alone(pairs, error)
        except (RuntimeError, MemoryError) as error:
            self._failed = True
            told = EngineError("the engine failed", where=self._backbone.name, got=repr(error))
            self._end([request for request, _ in pairs], told)
        else:
            self._failed = False
            self._postprocess(pairs, results)

    def _alone(self, pairs: Sequence[Pair], error: CuecardError) -> None:
        """One sequence does not fit: find out which."""
        if len(pairs) == 1:
            self._end([pairs[0][0]], error)
            return
        for pair in pairs:
            if not pair[0].finished:
                self._run([pair])

    @torch.inference_mode()
    def _results(self, pairs: Sequence[Pair]) -> list[Any]:
        """Per pair the items of an answer, a vector [H], or scores."""
        if isinstance(pairs[0][0], GenerateRequest):
            return self._generate([each for each, _ in pairs if isinstance(each, GenerateRequest)])
        groups = _by_prompt([sequence for _, sequence in pairs])
        if isinstance(pairs[0][0], EmbedRequest):
            found = self._embed(groups)
        elif isinstance(pairs[0][0], SegmentRequest):
            found = self._segment(groups)
        else:
            headed = pairs[0][1].head is not None
            found = self._read_heads(groups) if headed else self._score(groups)
        return [found[sequence] for _, sequence in pairs]

    def _postprocess(self, pairs: Sequence[Pair], results: Sequence[Any]) -> None:
        for (request, sequence), result in zip(pairs, results, strict=True):
            if request.finished:
                continue
            if not isinstance(request, BatchRequest):
                self._outputs += [(request, item) for item in result]
                request.finish(SequenceStatus.FINISHED)
            elif bool(torch.as_tensor(result).isnan().any()):
                self._end([request], not_finite(self._backbone.name))
            else:
                request.waiting.remove(sequence)
                request.results[sequence.number] = result
                request.finish_one(sequence)
                if request.finished:
                    self._outputs.append((request, request.results))

    def _end(self, requests: Sequence[Request], error: Exception) -> None:
        for request in requests:
            if not request.finished:
                request.finish(SequenceStatus.FINISHED_FAILED)
                self._outputs.append((request, error))

    def _generate(self, answers: Sequence[GenerateRequest]) -> list[list[AnswerItem]]:
        backbone, first = self._backbone, answers[0]
        sequences, sampler = (
            [answer.sequence for answer in answers],
            _Sampler(answers, backbone.name),
        )
        backbone.generate(
            [sequence.ids for sequence in sequences],
            [Placement.at(sequence.slot) for sequence in sequences],
            _injection(sequences[0]),
            first.left,
            sorted(first.stops),
            pick=sampler.pick,
        )
        written = sum(isinstance(item, Token) for items in sampler.items for item in items)
        self._counts.update(passes=1, rows_batched=len(answers), tokens_written=written)
        return sampler.items

    def _score(self, groups: Sequence[Sequence[SequenceState]]) -> dict[SequenceState, Any]:
        found = self._logs([(_words(group), _injection(group[0])) for group in groups])
        self._counts.update(rows_scored=sum(map(len, groups)))
        scores: dict[SequenceState, Any] = {}
        for group, logs in zip(groups, found, strict=True):
            sums = map(sum, logs)
            scores |= {sequence: [next(sums) for _ in sequence.words] for sequence in group}
        return scores

    def _read_heads(self, groups: Sequence[Sequence[SequenceState]]) -> dict[SequenceState, Any]:
        parts = [HeadRows([each.row for each in group], _injection(group[0])) for group in groups]
        found = read_for_heads(self._backbone, parts)
        count = sum(map(len, groups))
        self._counts.update(passes=1, rows_batched=count, rows_scored=count)
        return {
            sequence: sequence.head(state[None])[0].tolist()
            for group, states in zip(groups, found, strict=True)
            for sequence, state in zip(group, states, strict=True)
            if sequence.head is not None
        }

    def _embed(self, groups: Sequence[Sequence[SequenceState]]) -> dict[SequenceState, Any]:
        parts = [([each.row for each in group], _injection(group[0])) for group in groups]
        found = embed_parts(self._backbone, parts)
        count = sum(map(len, groups))
        self._counts.update(passes=1, rows_batched=count, rows_embedded=count)
        vectors: dict[SequenceState, Any] = {}
        for group, each in zip(groups, found, strict=True):
            vectors |= zip(group, each.cpu(), strict=True)
        return vectors

    def _segment(self, groups: Sequence[Sequence[SequenceState]]) -> dict[SequenceState, Any]:
        parts = [
            (image_batch([each.row for each in group]), _injection(group[0])) for group in groups
        ]
        found = self._backbone.read_many(parts)
        count = sum(map(len, groups))
        self._counts.update(passes=1, rows_batched=count, rows_segmented=count)
        masks: dict[SequenceState, Any] = {}
        for group, reads in zip(groups, found, strict=True):
            masks |= zip(group, reads.logits().cpu(), strict=True)
        return masks

    def _logs(
        self, parts: Sequence[tuple[Sequence[Continued], Injection | None]]
    ) -> list[list[list[float]]]:
        """Per part each continuation's tokens' log-probabilities."""
        batches = [collate([(each.row, word) for each, word in words]) for words, _ in parts]
        there = [batch.to(self._backbone.device) for batch in batches]
        given = [(batch, injection) for batch, (_, injection) in zip(there, parts, strict=True)]
        found = self._backbone.read_many(given)
        self._counts.update(passes=1, rows_batched=sum(map(len, batches)))
        return [_by_row(batch, reads) for batch, reads in zip(there, found, strict=True)]


class _Sampler:
    """Samples the tokens of a batch of answers.

    Attributes:
        items: what to deliver, answer by answer.
    """

    def __init__(self, answers: Sequence[GenerateRequest], where: str) -> None:
        self._answers, self._where = answers, where
        self._live = list(range(len(answers)))
        self.items: list[list[AnswerItem]] = [[] for _ in answers]

    def pick(self, logits: Tensor) -> Tensor:
        """The next tokens [n]; an answer that has ended gets a stop token from then on."""
        picked = [min(answer.stops, default=0) for answer in self._answers]
        samplers = [self._answers[row].sampler for row in self._live]
        for row, token in zip(list(self._live), sample(logits[self._live], samplers), strict=True):
            answer = self._answers[row]
            items = answer.take(not_finite(self._where) if token is None else token)
            self.items[row] += items
            if isinstance(items[0], Token):
                picked[row] = answer.last
            if not isinstance(items[-1], Token):
                self._live.remove(row)
        return torch.tensor(picked, device=logits.device)


def _words(group: Sequence[SequenceState]) -> list[Continued]:
    return [(sequence, word) for sequence in group for word in sequence.words]


def _by_prompt(sequences: Sequence[SequenceState]) -> list[list[SequenceState]]:
    groups: defaultdict[str, list[SequenceState]] = defaultdict(list)
    for sequence in sequences:
        groups[sequence.digest].append(sequence)
    return list(groups.values())


def _by_row(batch: Batch, reads: Reads) -> list[list[float]]:
    logs = (-reads.nll(batch.target_ids).double()).tolist()
    by_row = groupby(zip(batch.read_rows.tolist(), logs, strict=True), lambda pair: pair[0])
    return [[log for _, log in pairs] for _, pairs in by_row]


def _injection(sequence: SequenceState) -> Injection | None:
    return None if sequence.prompt is None else sequence.prompt.injection
