"""The engine `vllm`: prompts as embeddings in vLLM's own batches.

vLLM runs in processes of its own and holds the weights; here are only requests. It returns no
log-probabilities of what it is given when that holds embeddings, so words are scored token by
token, by requests for one new token each, whose inputs' keys and values are cached.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import torch
from torch import Tensor

from cuecard.artifacts import Prompt, check_backbone
from cuecard.backbones.loading import Precision, choose_device, choose_dtype
from cuecard.catalogue import Progress
from cuecard.errors import BackboneError, ConfigError, EngineError
from cuecard.names import load_backbone
from cuecard.serving.engine import Finished, Generation, Held, Scoring, Token
from cuecard.serving.identity import Identity
from cuecard.serving.placed import place
from cuecard.serving.vllm_library import Vllm, VllmOptions, import_vllm
from cuecard.serving.word_tree import Start, next_tokens, word_scores
from cuecard.types import Injection, InputTokens, LayerTokens, PrefixKV

# The most tokens whose log-probabilities vLLM returns to one request.
_WANTED = 128


class VllmEngine:
    """Prompts on a causal language model that vLLM runs.

    Args:
        known: the backbone, which vLLM loads again from where it came.
        options: what vLLM may use.

    Raises:
        ConfigError: vLLM is not installed, or a backbone that it cannot run with prompts.
    """

    name = "vllm"

    def __init__(self, known: Identity, options: VllmOptions | None = None) -> None:
        _check_known(known)
        self._vllm: Vllm = import_vllm()
        self._known, self._options = known, options or VllmOptions()
        self.tokenizer = known.tokenizer
        self.max_positions = min(
            known.max_positions, self._options.max_positions or known.max_positions
        )
        self._held: dict[str, Tensor] = {}
        self._llm: Any = None
        self._failed = False
        self._numbers = itertools.count()
        self._counts: Counter[str] = Counter()
        self._room = asyncio.Semaphore(2 * self._options.rows)

    @classmethod
    def open(
        cls,
        name: str,
        *,
        dtype: Precision = "auto",
        options: VllmOptions | None = None,
        progress: Progress | None = None,
    ) -> VllmEngine:
        """An engine for a catalogue name, a local folder or a hub id.

        The backbone is loaded once on the CPU, for what identifies it, and let go.

        Raises:
            ConfigError: as above.
            BackboneError: nothing of that name, or a model that cannot be used.
        """
        import_vllm()  # complains before anything is fetched
        kind = choose_dtype(dtype, choose_device("auto"))
        precision: Precision = "bf16" if str(kind) == "torch.bfloat16" else "fp32"
        backbone = load_backbone(name, dtype=precision, device="cpu", progress=progress)
        return cls(Identity.of(backbone), options)

    def refuses(self, prompt: Prompt) -> None:
        """Say why a prompt cannot be served here.

        Raises:
            WrongBackboneError: it was made for another backbone.
            ConfigError: a kind of prompt that vLLM has no place for.
        """
        check_backbone(prompt.manifest, self._known)
        self._vectors_of(prompt.injection())

    async def start(self) -> None:
        """Load the model into vLLM's processes; takes seconds, and holds the loop meanwhile.

        Raises:
            EngineError: vLLM does not start.
        """
        try:
            self._llm = self._vllm.start(self._known, self.max_positions, self._options)
            # What vLLM's kernels cannot do, such as a size of heads, it finds out when it runs.
            trial = Held("trial", InputTokens(torch.zeros(1, self._known.hidden_size)))
            await self._next(trial, (0,), 0, (0,))
        except (EngineError, RuntimeError, ValueError, OSError) as error:
            await self.close()
            self._failed = True
            cause = error.got if isinstance(error, EngineError) else str(error).strip()
            raise EngineError(
                "vLLM cannot run this backbone",
                where=self._known.name,
                got=(cause or type(error).__name__).split("\n")[0],
                hint="its own messages stand above",
            ) from error

    async def close(self) -> None:
        """End vLLM's processes; requests at work end with EngineError."""
        if self._llm is not None:
            self._llm.shutdown()
            self._llm = None

    async def hold(self, prompt: Held) -> None:
        """Keep a prompt's vectors, and have its keys and values computed where it comes first.

        Raises:
            ConfigError: a kind of prompt that vLLM has no place for, or of another width.
        """
        if prompt.digest in self._held:
            return
        vectors = self._held[prompt.digest] = self._vectors_of(prompt.injection)
        # Any token will do: the blocks in front of it are what is wanted.
        if len(vectors) + 2 <= self.max_positions:
            await self._next(prompt, (0,), 0, (0,))

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
            longest = max(map(len, row.words), default=0)
            self._check(row.prompt, row.row.context, row.row.slot, longest, sum(row.words, ()))
        return await _together([self._score_row(row) for row in rows])

    async def generate(self, request: Generation) -> AsyncIterator[Token | Finished]:
        """Tokens as they come, and one `Finished`; closing the iterator cancels.

        Raises:
            BackboneError: a request that is too long.
            ConfigError: a request that is malformed.
            EngineError: vLLM failed.
        """
        sampling = request.sampling
        self._check(request.prompt, request.context, request.slot, sampling.max_new_tokens)
        stops = self._known.end_ids | set(sampling.stop_ids)
        options = self._vllm.generation(sampling, stops)
        row = self._placed(request.prompt, request.context, request.slot)
        async with aclosing(self._outputs(row, options)) as outputs:
            async for output in outputs:
                (part,) = output.outputs
                for token, logprobs in zip(part.token_ids, part.logprobs, strict=True):
                    if token in stops:
                        yield Finished("stop")
                        return
                    self._counts["tokens_generated"] += 1
                    yield Token(int(token), float(logprobs[token].logprob))
        yield Finished("length")

    def stats(self) -> Mapping[str, float]:
        """Counters since the start, and how much is at work and held now."""
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
            "failed": float(self._failed or (self._llm is not None and self._llm.errored)),
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
        return word_scores(row.words, found)

    async def _next(
        self, prompt: Held | None, context: Sequence[int], slot: int, wanted: Sequence[int]
    ) -> dict[int, float]:
        """Log-probabilities of the wanted tokens after a context, under the whole softmax."""
        found: dict[int, float] = {}
        for few in _pieces(wanted):
            async with self._room:
                row = self._placed(prompt, context, slot)
                async with aclosing(self._outputs(row, self._vllm.reading(few))) as outputs:
                    async for output in outputs:
                        (logprobs,) = output.outputs[0].logprobs
                        found |= {token: float(logprobs[token].logprob) for token in few}
        return found

    async def _outputs(self, row: Any, options: Any) -> AsyncIterator[Any]:
        """What vLLM gives for one request; leaving early takes the request back."""
        if self._llm is None:
            raise EngineError("vLLM is not running", where=self._known.name)
        self._counts["requests"] += 1
        self._counts["rows_at_work"] += 1
        finished = seen = False
        try:
            async with aclosing(
                self._llm.generate(row, options, request_id=str(next(self._numbers)))
            ) as outputs:
                async for output in outputs:
                    if not seen:
                        seen = True
                        self._counts["tokens_cached"] += output.num_cached_tokens or 0
                        self._counts["tokens_input"] += len(output.prompt_token_ids)
                    finished = bool(output.finished)
                    yield output
        except self._vllm.failures as error:
            finished = True
            self._failed = self._llm is None or bool(self._llm.errored)
            raise EngineError(
                "vLLM failed", where=self._known.name, got=error.__cause__ or error
            ) from error
        finally:
            self._counts["rows_at_work"] -= 1
            self._counts["requests_cancelled"] += not finished

    def _placed(self, prompt: Held | None, context: Sequence[int], slot: int) -> Any:
        if prompt is None:
            return self._vllm.bare(context)
        vectors = self._held.get(prompt.digest)
        if vectors is None:
            vectors = self._vectors_of(prompt.injection)
        return self._vllm.prompted(place(vectors, prompt.digest, context, slot))

    def _vectors_of(self, injection: Injection) -> Tensor:
        """[P, H] a prompt's vectors in the model's own type."""
        refused = _why_not(injection)
        if refused is not None:
            raise ConfigError(
                "vLLM has no place for this kind of prompt",
                where="--engine vllm",
                got=refused,
                expected="vectors among the input embeddings",
                hint="serve it with --engine local",
            )
        assert isinstance(injection, InputTokens)
        width = injection.vectors.shape[-1]
        if injection.vectors.ndim != 2 or width != self._known.hidden_size:
            raise ConfigError(
                "the prompt has another width than the backbone",
                where=self._known.name,
                got=f"shape {tuple(injection.vectors.shape)}",
                expected=f"(length, {self._known.hidden_size})",
            )
        return injection.vectors.detach().to("cpu", self._known.dtype).contiguous()

    def _check(
        self,
        prompt: Held | None,
        context: Sequence[int],
        slot: int,
        new: int,
        more_ids: Sequence[int] = (),
    ) -> None:
        """Refuse what vLLM does not check itself, and what would end its process."""
        length = len(context) + (0 if prompt is None else prompt.injection.length) + new
        if length > self.max_positions:
            raise BackboneError(
                "the input with its prompt and answer is longer than the engine's positions",
                where=self._known.name,
                got=f"{length} tokens",
                expected=f"at most {self.max_positions}",
            )
        ids = (*context, *more_ids)
        if not context or not 0 <= slot <= len(context) or new < 1:
            raise ConfigError(
                "a row that cannot be run",
                where=self._known.name,
                got=f"{len(context)} tokens, slot {slot}, {new} new tokens",
                expected="a token or more, a slot among them, a new token or more",
            )
        if min(ids) < 0 or max(ids) >= self._known.vocab_size:
            raise ConfigError(
                "a token that the backbone does not have",
                where=self._known.name,
                got=f"token ids {min(ids)} to {max(ids)}",
                expected=f"0 to {self._known.vocab_size - 1}",
            )


def _check_known(known: Identity) -> None:
    quantize = known.fingerprint.quantize
    if not known.causal or quantize != "none":
        raise ConfigError(
            "vLLM cannot run this backbone with prompts",
            where="--engine vllm",
            got=f"{known.name}, {'an encoder-decoder' if not known.causal else quantize}",
            expected="a causal language model in its plain form",
            hint="use --engine local",
        )


def _why_not(injection: Injection) -> str | None:
    if isinstance(injection, PrefixKV):
        return "keys and values of every layer"
    if isinstance(injection, LayerTokens):
        return "vectors at every layer's input"
    if injection.shifts is not None:
        return "shifts of the tokens' embeddings"
    if injection.decoder is not None:
        return "vectors in front of a decoder's input"
    return None


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
