"""The engine `vllm`: prompts as embeddings in vLLM's own batches.

vLLM runs in processes of its own and holds the weights; here are only requests. It returns no
log-probabilities of what it is given when that holds embeddings, so words are scored token by
token, by requests for one new token each, whose inputs' keys and values are cached.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import torch
from torch import Tensor

from cuecard.artifacts import Prompt, check_backbone
from cuecard.backbones.loading import choose_device, choose_dtype
from cuecard.backbones.quantization.forms import Precision, Quantize
from cuecard.catalogue import Progress
from cuecard.engine.protocol import (
    Embedding,
    Finished,
    Generation,
    Held,
    PreparesImages,
    Scoring,
    Token,
)
from cuecard.engine.vllm.backbone_info import BackboneInfo
from cuecard.engine.vllm.checks import (
    check_ids,
    check_known,
    check_length,
    check_row,
    vectors_of,
)
from cuecard.engine.vllm.label_trie import Start, loglikelihoods, next_tokens
from cuecard.engine.vllm.library import Vllm, VllmOptions, import_vllm
from cuecard.engine.vllm.prompt_embeddings import prompt_embeddings
from cuecard.errors import ConfigError, EngineError
from cuecard.names import load_backbone
from cuecard.types import InputTokens

# The most tokens whose log-probabilities vLLM returns to one request.
_WANTED = 128
# For vLLM's processes to end by themselves, before they are killed.
_CLOSE_SECONDS = 20.0


class VllmEngine:
    """Prompts on a causal language model that vLLM runs.

    Args:
        known: the backbone, which vLLM loads again from where it came.
        options: what vLLM may use.

    Raises:
        ConfigError: a backbone that vLLM cannot run with prompts.
    """

    name = "vllm"
    embedding_size: int | None = None
    images: PreparesImages | None = None

    def __init__(self, known: BackboneInfo, options: VllmOptions | None = None) -> None:
        check_known(known)
        self.known, self._options = known, options or VllmOptions()
        self.tokenizer, self.dtype = known.tokenizer, known.dtype
        self.max_positions = min(
            known.max_positions, self._options.max_positions or known.max_positions
        )
        self._held: dict[str, Tensor] = {}
        self._running: tuple[Vllm, Any] | None = None
        self._failed = False
        self._numbers = itertools.count()
        self._counts: Counter[str] = Counter()
        self._room = asyncio.Semaphore(2 * self._options.max_num_seqs)

    @classmethod
    def open(
        cls,
        name: str,
        *,
        dtype: Precision = "auto",
        quantize: Quantize = "none",
        options: VllmOptions | None = None,
        progress: Progress | None = None,
    ) -> VllmEngine:
        """An engine for a catalogue name, a local folder or a hub id.

        The backbone is loaded once on the CPU, for what identifies it, and let go.

        Raises:
            ConfigError: as above, or vLLM is not installed.
            BackboneError: nothing of that name, or a model that cannot be used.
        """
        import_vllm()  # complains before anything is fetched
        kind = choose_dtype(dtype, choose_device("auto"))
        precision: Precision = "bf16" if str(kind) == "torch.bfloat16" else "fp32"
        backbone = load_backbone(
            name, dtype=precision, device="cpu", quantize=quantize, progress=progress
        )
        return cls(BackboneInfo.of(backbone), options)

    def refuses(self, prompt: Prompt) -> None:
        """Say why a prompt cannot be served here.

        Raises:
            WrongBackboneError: it was made for another backbone.
            ConfigError: a kind of prompt that vLLM does not support.
        """
        check_backbone(prompt.manifest.backbone, self.known)
        vectors_of(prompt.injection(), self.known)

    async def start(self) -> None:
        """Load the model into vLLM's processes; takes seconds, and holds the loop meanwhile.

        Raises:
            ConfigError: vLLM is not installed.
            EngineError: vLLM does not start, or cannot run this backbone.
        """
        if self._running is not None:
            raise EngineError("the engine was started before", where=self.name)
        vllm = import_vllm()
        try:
            llm = vllm.start(self.known, self.max_positions, self._options)
        except (RuntimeError, ValueError, OSError) as error:
            raise self._cannot_run(error) from error
        self._running = vllm, llm
        try:
            # What vLLM's kernels cannot do, such as a size of heads, it finds out when it runs.
            trial = Held("trial", InputTokens(torch.zeros(1, self.known.hidden_size)))
            await self._next(trial, (0,), 0, (0,))
            await llm.collective_rpc("end_with_server", args=(os.getpid(),))
        except EngineError as error:
            await self.close()
            raise self._cannot_run(error) from error

    def _cannot_run(self, error: Exception) -> EngineError:
        self._failed = True
        said = error.got if isinstance(error, EngineError) else str(error).strip()
        return EngineError(
            "vLLM cannot run this backbone",
            where=self.known.name,
            got=(said or type(error).__name__).split("\n")[0],
            hint="see vLLM's messages above",
        )

    async def close(self) -> None:
        """End vLLM's processes; requests at work end with EngineError."""
        if self._running is not None:
            _, llm = self._running
            self._running = None
            llm.shutdown(timeout=_CLOSE_SECONDS)

    async def hold(self, prompt: Held) -> None:
        """Keep a prompt's vectors, and have its keys and values computed where it comes first.

        Raises:
            ConfigError: a kind of prompt that vLLM does not support, or of another width.
            BackboneError: one that leaves no room for a token and an answer.
            EngineError: vLLM failed.
        """
        if prompt.digest in self._held:
            return
        vectors = vectors_of(prompt.injection, self.known)
        check_length(len(vectors) + 2, self.max_positions, self.known)
        self._held[prompt.digest] = vectors
        try:
            # Any token will do: the blocks in front of it are what is wanted.
            await self._next(prompt, (0,), 0, (0,))
        except EngineError:
            await self.drop(prompt.digest)
            raise

    async def drop(self, digest: str) -> None:
        """Forget a prompt's vectors; its cached blocks go when others need the room."""
        self._held.pop(digest, None)

    async def score(self, rows: Sequence[Scoring]) -> list[list[float]]:
        """Per row the summed log-probability of each word.

        Raises:
            BackboneError: a row that is too long.
            ConfigError: a row that is malformed.
            EngineError: vLLM failed.
        """
        for row in rows:
            if row.head is not None:
                raise ConfigError(
                    "the vLLM engine gives no hidden states for a head to read",
                    where=self.known.name,
                    got="a prompt with a trained head",
                    expected="a prompt that answers in label words",
                    hint="serve it with --engine local",
                )
            longest = max(map(len, row.words), default=0)
            self._check(row.prompt, row.row.context, row.row.slot, longest)
            check_ids(sum(row.words, ()), self.known)
        found: list[list[float]] = [[]] * len(rows)
        left = iter(enumerate(rows))

        async def work() -> None:
            for number, row in left:
                found[number] = await self._score_row(row)

        # No more than a batch of one caller's rows wait at once, so that others get their turn.
        await _together([work() for _ in range(min(len(rows), self._options.max_num_seqs))])
        return found

    async def embed(self, rows: Sequence[Embedding]) -> list[Tensor]:
        """Not by the causal language models that vLLM runs here.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "the vLLM engine makes no embeddings",
            where=self.known.name,
            got=f"{len(rows)} texts to embed",
            expected="scoring or generation",
            hint="serve an encoder with --engine local",
        )

    async def generate(self, request: Generation) -> AsyncGenerator[Token | Finished, None]:
        """Tokens as they come, and one `Finished`; closing the iterator cancels.

        Raises:
            BackboneError: a request that is too long.
            ConfigError: a request that is malformed.
            EngineError: vLLM failed.
        """
        sampling = request.sampling
        self._check(request.prompt, request.context, request.slot, sampling.max_new_tokens)
        stops = self.known.end_ids | set(sampling.stop_ids)
        vllm, _ = self._at_work()
        options = vllm.generation(sampling, stops)
        row = self._with_prompt(request.prompt, request.context, request.slot)
        async with aclosing(self._outputs(row, options)) as outputs:
            async for output in outputs:
                (part,) = output.outputs
                for token, logprobs in zip(part.token_ids, part.logprobs, strict=True):
                    if token in stops:
                        yield Finished("stop")
                        return
                    self._counts["tokens_generated"] += 1
                    top = _top(logprobs, sampling.top_logprobs)
                    yield Token(int(token), float(logprobs[token].logprob), top)
        yield Finished("length")

    def generate_choices(
        self, requests: Sequence[Generation]
    ) -> list[AsyncIterator[Token | Finished]]:
        """As `generate` each; vLLM caches the prefix that they share."""
        return [self.generate(request) for request in requests]

    def stats(self) -> Mapping[str, float]:
        """Counters since the start, and how much is at work and held now."""
        dead = self._running is not None and self._running[1].errored
        held = sum(each.numel() * each.element_size() for each in self._held.values())
        return {
            "requests": 0.0,
            "requests_cancelled": 0.0,
            "tokens_input": 0.0,
            "tokens_cached": 0.0,
            "tokens_generated": 0.0,
            "rows_at_work": 0.0,
            **{name: float(count) for name, count in self._counts.items()},
            "prompts_held": float(len(self._held)),
            "prompt_bytes": float(held),
            "failed": float(self._failed or dead),
        }

    async def _score_row(self, row: Scoring) -> list[float]:
        context, slot = row.row.context, row.row.slot
        found: dict[Start, dict[int, float]] = {}
        for level in next_tokens(row.words):
            answers = await _together(
                [
                    self._next(row.prompt, (*context, *start), slot, wanted)
                    for start, wanted in level.items()
                ]
            )
            found.update(zip(level, answers, strict=True))
        return loglikelihoods(row.words, found)

    async def _next(
        self, prompt: Held | None, context: Sequence[int], slot: int, wanted: Sequence[int]
    ) -> dict[int, float]:
        """Log-probabilities of the wanted tokens after a context, under the whole softmax."""
        vllm, _ = self._at_work()
        found: dict[int, float] = {}
        for few in _pieces(wanted):
            async with self._room:
                row = self._with_prompt(prompt, context, slot)
                async with aclosing(self._outputs(row, vllm.reading(few))) as outputs:
                    async for output in outputs:
                        (logprobs,) = output.outputs[0].logprobs
                        found |= {token: float(logprobs[token].logprob) for token in few}
        return found

    async def _outputs(self, row: Any, options: Any) -> AsyncGenerator[Any, None]:
        """What vLLM gives for one request; leaving early takes the request back."""
        vllm, llm = self._at_work()
        self._counts["requests"] += 1
        self._counts["rows_at_work"] += 1
        finished = seen = False
        try:
            async with aclosing(
                llm.generate(row, options, request_id=str(next(self._numbers)))
            ) as outputs:
                async for output in outputs:
                    if not seen:
                        seen = True
                        self._counts["tokens_cached"] += output.num_cached_tokens or 0
                        self._counts["tokens_input"] += len(output.prompt_token_ids)
                    finished = bool(output.finished)
                    yield output
        except vllm.failures as error:
            finished = True
            self._failed = bool(llm.errored)
            raise EngineError(
                "vLLM failed", where=self.known.name, got=error.__cause__ or error
            ) from error
        finally:
            self._counts["rows_at_work"] -= 1
            self._counts["requests_cancelled"] += not finished

    def _check(self, prompt: Held | None, context: Sequence[int], slot: int, new: int) -> None:
        length = 0 if prompt is None else prompt.injection.length
        check_row(context, slot, new, self.known)
        check_length(length + len(context) + new, self.max_positions, self.known)

    def _at_work(self) -> tuple[Vllm, Any]:
        if self._running is None:
            raise EngineError("vLLM is not running", where=self.known.name)
        return self._running

    def _with_prompt(self, prompt: Held | None, context: Sequence[int], slot: int) -> Any:
        vllm, _ = self._at_work()
        if prompt is None:
            return vllm.bare(context)
        vectors = self._held.get(prompt.digest)
        if vectors is None:
            vectors = vectors_of(prompt.injection, self.known)
        return vllm.prompted(prompt_embeddings(vectors, prompt.digest, context, slot))


def _top(logprobs: Mapping[int, Any], count: int) -> tuple[tuple[int, float], ...]:
    """The likeliest tokens; the chosen one is among vLLM's whatever its rank."""
    ranked = sorted((each.rank, token, each.logprob) for token, each in logprobs.items())
    return tuple((int(token), float(log)) for _, token, log in ranked[:count])


def _pieces(wanted: Sequence[int]) -> Iterator[Sequence[int]]:
    return (wanted[start : start + _WANTED] for start in range(0, len(wanted), _WANTED))


async def _together(jobs: Sequence[Any]) -> list[Any]:
    """Every job's result; the first that fails ends the others, and is raised itself."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
