"""The worker for causal backbones whose rows can be packed: schedule, run, postprocess."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from cuecard.backbones import CausalBackbone
from cuecard.backbones.forward.ragged import RaggedRun
from cuecard.engine.local.kv_cache import KVCacheManager
from cuecard.engine.local.model_runner import ModelRunner, StepOutput
from cuecard.engine.local.requests import (
    ForkedRequest,
    GenerateRequest,
    Request,
    ScoreRequest,
    SequenceState,
    SequenceStatus,
)
from cuecard.engine.local.sampling import not_finite
from cuecard.engine.local.scheduler import ScheduledChunk, Scheduler, SchedulerOutput
from cuecard.engine.local.settings import LocalSettings
from cuecard.engine.local.worker import RequestOutput
from cuecard.engine.protocol import Held, Token
from cuecard.errors import BackboneError, CuecardError, EngineError


class PackedWorker:
    """Rows of any prompts run together in packed passes, with cached keys and values."""

    def __init__(self, backbone: CausalBackbone, run: RaggedRun, settings: LocalSettings) -> None:
        self._backbone = backbone
        self._cache = KVCacheManager(settings, run.shape.token_bytes)
        self._scheduler = Scheduler(self._cache, settings.max_num_batched_tokens)
        self._runner = ModelRunner(backbone, run, self._cache)
        self._requests: list[Request] = []
        self._dropped: set[str] = set()
        self._outputs: list[RequestOutput] = []
        self._counts: Counter[str] = Counter()
        self._failed = False

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._requests)

    def stats(self) -> Mapping[str, float]:
        """Counters and gauges by name."""
        cache, decoder = self._cache.cache, self._runner.decoder
        return {
            **self._counts,
            "failed": float(self._failed),
            "queue_rows": self._scheduler.queued,
            "writing_rows": decoder.live,
            "answer_bytes": decoder.nbytes,
            "tokens_reused": self._cache.reused,
            "prompt_cache_bytes": cache.nbytes,
            "prompt_cache_pinned_bytes": cache.pinned,
            "prompt_cache_entries": len(cache),
            "prompt_cache_hits": cache.hits,
            "prompt_cache_misses": cache.misses,
            "prompt_cache_evictions": cache.evictions,
        }

    def check_prompt(self, prompt: Held) -> None:
        """Check that a prompt fits the backbone; may be called from any thread.

        Raises:
            BackboneError: it has other sizes than the backbone.
        """
        self._backbone.tensors(prompt.injection)

    def hold(self, digest: str) -> None:
        """A prompt that was dropped is wanted again."""
        self._dropped.discard(digest)

    def drop(self, digest: str) -> None:
        """Forget a prompt as soon as nobody uses it."""
        self._dropped.add(digest)
        self._sweep()

    def add(self, request: Request) -> None:
        """Queue a request."""
        self._requests.append(request)
        if isinstance(request, ForkedRequest):
            self._requests += request.choices
        self._scheduler.add(request)
        new = max((answer.left for answer in request.answers), default=0)
        try:
            for sequence in request.sequences:
                self._check(sequence, new)
        except CuecardError as error:
            self._finish(request, error)

    def step(self) -> list[RequestOutput]:
        """Run one pass, if there is anything to run; what to deliver."""
        self._sweep()
        scheduled = self._scheduler.schedule()
        for chunk in scheduled.chunks:
            chunk.request.begin(self._counts)
        try:
            output = self._runner.run(scheduled)
        except (RuntimeError, MemoryError, CuecardError) as error:
            self._fail(scheduled, error)
        else:
            self._postprocess(scheduled, output)
        return self._take_outputs()

    def fail_all(self, error: Exception) -> list[RequestOutput]:
        """End every request with an error."""
        self._runner.decoder.clear()
        for request in self._requests:
            self._finish(request, error)
        return self._take_outputs()

    def _check(self, sequence: SequenceState, new_tokens: int) -> None:
        """Check that a sequence fits.

        Raises:
            BackboneError: a mask to read at, or too many tokens.
        """
        if sequence.mask is not None:
            raise BackboneError(
                "a causal backbone scores what follows a text, not at a mask",
                where=self._backbone.name,
                got=f"a mask at token {sequence.mask}",
                expected="a template without {mask}",
            )
        longest = max((len(word) - 1 for word in sequence.words), default=0)
        length = sequence.prompt_tokens + len(sequence.ids) + max(longest, new_tokens)
        if length > self._backbone.max_positions:
            raise BackboneError(
                "the input with its prompt and answer is longer than the backbone's positions",
                where=self._backbone.name,
                got=f"{length} tokens",
                expected=f"at most {self._backbone.max_positions}",
                hint="a shorter input or a smaller answer",
            )

    # After a pass.

    def _postprocess(self, scheduled: SchedulerOutput, output: StepOutput) -> None:
        """Advance what was scheduled by what came of it."""
        if output.num_tokens:
            self._failed = False
            self._counts.update(
                passes=1,
                tokens_computed=output.num_tokens,
                tokens_decoded=output.num_decoded,
                rows_batched=output.num_decoded + output.num_chunks,
                prompts_computed=output.num_prompts,
            )
        for request, error in output.failed.items():
            self._finish(request, error)
        for answer, token in output.sampled:
            self._append(answer, token)
        for chunk in scheduled.chunks:
            if not chunk.request.finished:
                self._advance(chunk, output)

    def _append(self, answer: GenerateRequest, token: Token | CuecardError) -> None:
        """Append a token to an answer, which may end with it."""
        answer.sequence.status = SequenceStatus.RUNNING
        for item in answer.take(token):
            if not isinstance(item, Token):
                self._finish(answer, item)
                return
            self._counts.update(tokens_written=1)
            if not answer.cancelled:
                self._outputs.append((answer, item))

    def _advance(self, chunk: ScheduledChunk, output: StepOutput) -> None:
        request, sequence = chunk.request, chunk.sequence
        sequence.computed = chunk.end
        if not chunk.is_last:
            return
        request.waiting.remove(sequence)
        self._free(sequence)
        if isinstance(request, ScoreRequest):
            self._put_scores(request, sequence, output.scores[sequence])
        for answer in chunk.answers[chunk.starting :]:
            if not answer.finished:
                self._scheduler.postpone(answer)
        if isinstance(request, ForkedRequest):
            request.finish_one(sequence)

    def _put_scores(
        self, request: ScoreRequest, sequence: SequenceState, scores: list[float]
    ) -> None:
        if any(score != score for score in scores):
            self._finish(request, not_finite(self._backbone.name))
            return
        self._counts.update(rows_scored=1)
        request.results[sequence.number] = scores
        request.finish_one(sequence)
        if request.finished and not request.cancelled:
            self._outputs.append((request, request.results))

    def _fail(self, scheduled: SchedulerOutput, error: Exception) -> None:
        """The pass failed: its requests get an error, the others go on."""
        self._failed = True
        self._counts.update(failures=1)
        told = EngineError("the engine failed", where=self._backbone.name, got=repr(error))
        self._runner.decoder.clear()
        running = [each for each in self._requests if _is_running(each)]
        for request in (
            *(chunk.request for chunk in scheduled.chunks),
            *scheduled.admitted,
            *running,
        ):
            self._finish(request, told)

    # Ends.

    def _finish(self, request: Request, item: Any = None) -> None:
        """End a request, and deliver its last item."""
        if request.finished:
            return
        status = SequenceStatus.FINISHED
        if isinstance(item, Exception):
            status = SequenceStatus.FINISHED_FAILED
        if request.abandoned:
            status = SequenceStatus.FINISHED_CANCELLED
        for sequence in request.sequences:
            self._free(sequence)
        request.finish(status)
        if isinstance(request, ForkedRequest):
            for answer in request.choices:
                self._finish(answer, item)
            return
        if isinstance(request, GenerateRequest):
            self._cache.release(request)
        if not request.cancelled:
            self._outputs.append((request, item))

    def _free(self, sequence: SequenceState) -> None:
        self._cache.free(sequence)
        self._runner.free(sequence)

    def _sweep(self) -> None:
        """Let go of requests that have finished, and of those that nobody waits for."""
        for request in self._requests:
            if request.abandoned:
                self._finish(request)
        self._requests = [request for request in self._requests if not request.finished]
        self._runner.decoder.remove_finished()
        self._scheduler.remove_finished()
        for digest in tuple(self._dropped):
            if not any(digest in request.digests for request in self._requests):
                self._dropped.remove(digest)
                self._cache.forget(digest)

    def _take_outputs(self) -> list[RequestOutput]:
        self._sweep()
        outputs, self._outputs = self._outputs, []
        return outputs


def _is_running(request: Request) -> bool:
    return any(each.status is SequenceStatus.RUNNING for each in request.sequences)
