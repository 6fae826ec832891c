"""Settings of the local engine."""

from __future__ import annotations

from dataclasses import dataclass

from cuecard.errors import ConfigError


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """Settings of the local engine; names are vLLM's where it has them.

    Attributes:
        max_num_batched_tokens: maximum tokens of a forward pass, without those of answers being
            decoded: more use the processor better, fewer give lower latency.
        max_num_seqs: maximum answers being decoded at a time.
        cache_bytes: keys and values of prompts and of cached prefixes of their contexts; on a
            vision encoder what its first layer takes in of images.
        kv_cache_bytes: keys and values of answers being decoded.
        prepack_bytes: maximum size of a copy of a bfloat16 model's weights in the layout that the
            processor multiplies fastest; 0: no copy.
        prefix_caching: whether common prefixes of a prompt's contexts, and images, are cached
            from one request to the next.

    Raises:
        ConfigError: a size below one.
    """

    max_num_batched_tokens: int = 512
    max_num_seqs: int = 64
    cache_bytes: int = 2**30
    kv_cache_bytes: int = 4 * 2**30
    prepack_bytes: int = 2**30
    prefix_caching: bool = True

    def __post_init__(self) -> None:
        for name in ("max_num_batched_tokens", "max_num_seqs", "cache_bytes", "kv_cache_bytes"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"{name} must be positive", where=name, got=getattr(self, name), expected="1 up"
                )
