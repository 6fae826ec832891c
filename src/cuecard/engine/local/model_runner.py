"""Run what is scheduled: all that touches tensors, in one forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cuecard.backbones import CausalBackbone
from cuecard.backbones.forward.injected import Injected
from cuecard.backbones.forward.ragged import PassOutput, PrefillChunk, RaggedRun
from cuecard.backbones.kernels.input_cache import value_sums
from cuecard.engine.local.chunks import log_likelihoods, make_chunk, sequence_embeddings
from cuecard.engine.local.decoder import Decoder, Sampled
from cuecard.engine.local.kv_cache import KVCacheManager
from cuecard.engine.local.requests import Request, ScoreRequest, SequenceState
from cuecard.engine.local.scheduler import ScheduledChunk, SchedulerOutput
from cuecard.errors import CuecardError
from cuecard.types import Head, PrefixKV


@dataclass(slots=True)
class StepOutput:
    """What a pass gave, in numbers.

    Attributes:
        sampled: answers with their next token, or why there is none.
        scores: a log-likelihood per continuation, or a head's outputs, for sequences whose contexts
            have run.
        failed: requests that cannot run, and why; nothing of them ran.
        num_tokens: that ran; 0 where there was no pass.
        num_decoded: those of answers being decoded, one each.
        num_chunks, num_prompts: that ran.
    """

    sampled: list[Sampled] = field(default_factory=list)
    scores: dict[SequenceState, list[float]] = field(default_factory=dict)
    failed: dict[Request, CuecardError] = field(default_factory=dict)
    num_tokens: int = 0
    num_decoded: int = 0
    num_chunks: int = 0
    num_prompts: int = 0


@dataclass(eq=False, slots=True)
class _Tensors:
    """One sequence's.

    Attributes:
        given: its prompt's, without keys and values.
        embeds: [n, H] its tokens.
        computed: keys and values of those that have run, chunk by chunk.
        value_sums: what its pooled head reads of the tokens before the prompt that have run.
    """

    given: Injected
    embeds: Tensor
    computed: list[Tensor] = field(default_factory=list)
    value_sums: Tensor | None = None


class ModelRunner:
    """Runs passes on a causal backbone, and holds the tensors of what has not finished."""

    def __init__(self, backbone: CausalBackbone, run: RaggedRun, cache: KVCacheManager) -> None:
        self._backbone, self._run, self._cache = backbone, run, cache
        self.decoder = Decoder(backbone, run)
        self._tensors: dict[SequenceState, _Tensors] = {}
        # Keys and values of the contexts of answers that wait for a place.
        self._prefilled: dict[SequenceState, tuple[Tensor, ...]] = {}

    def run(self, scheduled: SchedulerOutput) -> StepOutput:
        """Run one pass, if there is anything to run, and sample.

        Raises:
            RuntimeError, MemoryError, CuecardError: the pass failed.
        """
        output = StepOutput()
        for answer in scheduled.admitted:
            self.decoder.admit(answer, self._prefilled.pop(answer.sequence), answer.left)
        chunks, inputs = self._prepare(scheduled.chunks, output)
        blocks = self.decoder.inputs()
        if inputs or blocks:
            keep = any(
                chunk.prompt_tokens or chunk.is_kept or chunk.sequence.pooled for chunk in chunks
            )
            output.num_decoded = sum(len(embeds) for _, embeds in blocks)
            passed = self._run.run(blocks, inputs, keep)
            output.num_tokens = output.num_decoded + sum(len(each.embeds) for each in inputs)
            output.num_chunks = len(inputs)
            output.num_prompts = sum(chunk.prompt_tokens > 0 for chunk in chunks)
            output.sampled += self.decoder.sample(passed.decoded)
            for index, chunk in enumerate(chunks):
                self._collect(chunk, passed, index, output)
        return output

    def free(self, sequence: SequenceState) -> None:
        """Let go of a sequence's tensors."""
        self._tensors.pop(sequence, None)
        self._prefilled.pop(sequence, None)

    def _prepare(
        self, scheduled: Sequence[ScheduledChunk], output: StepOutput
    ) -> tuple[list[ScheduledChunk], list[PrefillChunk]]:
        """The chunks with their tensors; those of requests that do not fit are left out."""
        made: list[tuple[ScheduledChunk, PrefillChunk]] = []
        for chunk in scheduled:
            try:
                if chunk.request not in output.failed:
                    made.append((chunk, self._input(chunk)))
            except CuecardError as error:
                output.failed[chunk.request] = error
        fine = [(chunk, each) for chunk, each in made if chunk.request not in output.failed]
        return [chunk for chunk, _ in fine], [each for _, each in fine]

    def _input(self, chunk: ScheduledChunk) -> PrefillChunk:
        sequence = chunk.sequence
        if not chunk.prompt_tokens and self._cache.lacks_prompt(sequence):
            self._load_prompt(sequence)
        tensors = self._tensors.get(sequence)
        if tensors is None:
            tensors = self._tensors[sequence] = self._lay_out(sequence)
        past: tuple[Tensor, ...] = ()
        if not chunk.prompt_tokens:
            past = (*self._cache.pieces(sequence), *tensors.computed)
        return make_chunk(chunk, tensors.given, tensors.embeds, past)

    def _load_prompt(self, sequence: SequenceState) -> None:
        """Cache a prompt of keys and values, which need not run."""
        assert sequence.prompt is not None
        given = self._backbone.tensors(sequence.prompt.injection)
        assert given.prefix is not None
        self._cache.store_prompt(sequence, given.prefix)

    def _lay_out(self, sequence: SequenceState) -> _Tensors:
        injection = None if sequence.prompt is None else sequence.prompt.injection
        given = self._backbone.tensors(None if isinstance(injection, PrefixKV) else injection)
        given = self._run.mixed(sequence.ids, given)
        return _Tensors(given, sequence_embeddings(self._run, sequence, given))

    def _collect(
        self, chunk: ScheduledChunk, passed: PassOutput, index: int, output: StepOutput
    ) -> None:
        """Keep what later passes need of a chunk; score or sample at its end."""
        sequence, first = chunk.sequence, chunk.prompt_tokens
        if first:
            self._cache.store_prompt(sequence, passed.keys_values(index, 0, first))
        computed = self._tensors[sequence].computed
        if chunk.is_kept:
            computed.append(passed.keys_values(index, first, chunk.num_tokens))
        if sequence.pooled:
            self._add_values(chunk, passed, index)
        if 0 < len(sequence.to_cache) <= chunk.end:
            prefix = torch.cat(computed, 3)[:, :, :, : len(sequence.to_cache)].clone()
            self._cache.store_prefix(sequence, prefix)
        if not chunk.is_last:
            return
        logits = passed.read[index]
        if isinstance(chunk.request, ScoreRequest):
            output.scores[sequence] = (
                log_likelihoods(sequence.words, logits)
                if sequence.head is None
                else self._read_head(sequence, sequence.head, logits.float())
            )
        pieces = (*self._cache.pieces(sequence), *computed)
        for number, answer in enumerate(chunk.answers):
            output.sampled.append(self.decoder.sample_first(answer, logits))
            if answer.ends_with(output.sampled[-1][1]) is not None:
                continue
            if number < chunk.starting:
                self.decoder.admit(answer, pieces, answer.left - 1)
            else:
                self._prefilled[answer.sequence] = pieces

    def _add_values(self, chunk: ScheduledChunk, passed: PassOutput, index: int) -> None:
        """Add up what a pooled head reads of a chunk's tokens that stand before the prompt."""
        sequence, tensors = chunk.sequence, self._tensors[chunk.sequence]
        layers = sequence.pooled
        if tensors.value_sums is None and sequence.cached:
            cached = self._cache.prefix(sequence)[:, :, :, : sequence.slot]
            tensors.value_sums = value_sums(cached, layers)
        count = min(chunk.num_tokens, sequence.slot - sequence.cached - chunk.start)
        if count <= 0:
            return
        first = chunk.prompt_tokens
        found = value_sums(passed.keys_values(index, first, first + count), layers)
        before = tensors.value_sums
        tensors.value_sums = found if before is None else before + found

    def _read_head(self, sequence: SequenceState, head: Head, states: Tensor) -> list[float]:
        """[K] what a head makes of the state [1, H] at the context's end."""
        if head.layers:
            sums = self._tensors[sequence].value_sums
            if sums is None:
                width = self._backbone.head_width(head.layers) - states.shape[1]
                sums = states.new_zeros(width)
            states = torch.cat([states, sums[None] / max(1, sequence.slot)], 1)
            if head.tfidf is not None:
                counted = head.tfidf([sequence.ids[: sequence.slot]])
                states = torch.cat([states, counted.to(states.device)], 1)
        found: list[float] = head(states)[0].tolist()
        return found
