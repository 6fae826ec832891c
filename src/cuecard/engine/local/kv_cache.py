"""Which keys and values are cached, and how much room those of answers take."""

from __future__ import annotations

from torch import Tensor

from cuecard.engine.local.prefix_caching import PrefixDetector
from cuecard.engine.local.prompt_cache import PromptCache
from cuecard.engine.local.requests import GenerateRequest, SequenceState
from cuecard.engine.local.settings import LocalSettings
from cuecard.types import PrefixKV

# A row of an answer has room for at least so many tokens.
_SHORTEST = 64
# A prefix may take one in so many bytes of the cache.
_PREFIX_SHARE = 8
# A prefix of at least so many tokens is waited for while another sequence computes it: a pass for
# shorter ones alone would cost more than computing them twice.
_WAITED_FOR = 128


class KVCacheManager:
    """Pins what sequences need of the cache, and reserves room for answers.

    Counts tokens and bytes only; tensors pass through `store` and `pieces`.

    Args:
        token_bytes: of one token's keys and values.
    """

    def __init__(self, settings: LocalSettings, token_bytes: int) -> None:
        self._settings, self._token_bytes = settings, token_bytes
        self.cache = PromptCache(settings.cache_bytes)
        self._prefixes = PrefixDetector()
        self._computing: set[tuple[str, tuple[int, ...]]] = set()
        self._answers = self._reserved = 0
        self.reused = 0

    # Prompts in front of their sequences.

    def is_new(self, sequence: SequenceState) -> bool:
        """Whether a sequence's prompt would have to run with it."""
        key = sequence.prompt_key
        return sequence.prompt_first and key not in self.cache and not self.cache.is_promised(key)

    def pin_prompt(self, sequence: SequenceState) -> int | None:
        """Pin the keys and values of a sequence's prompt.

        Returns:
            How many tokens of the prompt have to run in front of the sequence; None if it has to
            wait, for another sequence that runs them or for room.
        """
        key = sequence.prompt_key
        if not sequence.prompt_first or key in sequence.pins:
            return 0
        assert sequence.prompt is not None
        # Keys and values that were trained need not run, so that nobody waits for them.
        given = isinstance(sequence.prompt.injection, PrefixKV)
        if self.cache.pin(key, promised=given):
            sequence.pins.append(key)
            self.reused += sequence.prompt_tokens
            return 0
        nbytes = sequence.prompt_tokens * self._token_bytes
        if self.cache.is_promised(key) or not self.cache.promise(key, nbytes):
            return None
        sequence.pins.append(key)
        return 0 if given else sequence.prompt_tokens

    # Prefixes of contexts.

    def pin_prefix(self, sequence: SequenceState, prompt_runs: bool) -> bool:
        """Pin the cached prefix of a context, or note that it is to be cached.

        Args:
            prompt_runs: whether the prompt runs in the same pass, so that its keys and values,
                which precede the prefix, are not there yet.

        Returns:
            False if the sequence has to wait, for another one that computes the prefix.
        """
        if not self._settings.prefix_caching:
            return True
        if sequence.prefix is None:
            end = sequence.slot if sequence.inline_tokens or sequence.late else -1
            sequence.prefix = self._prefixes.meet(sequence.digest, sequence.ids[:end])
        prefix = sequence.prefix
        if not prefix:
            return True
        key = (sequence.context_digest, prefix)
        if not prompt_runs and self.cache.pin(key):
            sequence.pins.append(key)
            sequence.cached = len(prefix)
            self.reused += len(prefix)
        elif key in self._computing:
            return prompt_runs or len(prefix) < _WAITED_FOR
        elif key not in self.cache and self._fits(prefix):
            self._computing.add(key)
            sequence.to_cache = prefix
        return True

    def _fits(self, prefix: tuple[int, ...]) -> bool:
        """Whether a prefix leaves most of the cache to others."""
        return len(prefix) * self._token_bytes * _PREFIX_SHARE <= self._settings.cache_bytes

    # What a pass needs and leaves.

    def pieces(self, sequence: SequenceState) -> tuple[Tensor, ...]:
        """Cached keys and values [L, 2, K, t, D] that a sequence's next tokens see."""
        hidden = None if sequence.sees_prompt else sequence.prompt_key
        return tuple(self.cache[key] for key in sequence.pins if key != hidden)

    def prefix(self, sequence: SequenceState) -> Tensor:
        """Keys and values [L, 2, K, t, D] of a sequence's tokens that come from the cache."""
        return self.cache[(sequence.context_digest, sequence.ids[: sequence.cached])]

    def lacks_prompt(self, sequence: SequenceState) -> bool:
        """Whether a sequence's prompt is pinned, but not stored yet."""
        return sequence.prompt_key in sequence.pins and sequence.prompt_key not in self.cache

    def store_prompt(self, sequence: SequenceState, keys_values: Tensor) -> None:
        """Cache a prompt's keys and values."""
        self.cache.put(sequence.prompt_key, keys_values)

    def store_prefix(self, sequence: SequenceState, keys_values: Tensor) -> None:
        """Cache those of a context's prefix; see `SequenceState.to_cache`."""
        key = (sequence.context_digest, sequence.to_cache)
        self.cache.put(key, keys_values)
        self._computing.discard(key)
        sequence.to_cache = ()

    def free(self, sequence: SequenceState) -> None:
        """A sequence needs nothing of the cache any more."""
        self._computing.discard((sequence.context_digest, sequence.to_cache))
        sequence.to_cache = ()
        for key in sequence.pins:
            self.cache.unpin(key)
        sequence.pins = []

    def forget(self, digest: str) -> None:
        """Drop all that belongs to a prompt that is not served any more."""
        self.cache.forget(digest)
        self._prefixes.forget(digest)

    # Answers being decoded.

    def reserve(self, answer: GenerateRequest) -> bool:
        """Reserve room for an answer with its context; False if there is none now.

        One answer always gets it, however long.
        """
        if answer.reserved:
            return True
        need = capacity_for(answer.max_length) * self._token_bytes
        full = self._answers >= self._settings.max_num_seqs
        if full or (self._answers and self._reserved + need > self._settings.kv_cache_bytes):
            return False
        answer.reserved = need
        self._reserved += need
        self._answers += 1
        return True

    def release(self, answer: GenerateRequest) -> None:
        """Give up an answer's room."""
        if answer.reserved:
            self._reserved -= answer.reserved
            self._answers -= 1
            answer.reserved = 0


def capacity_for(tokens: int) -> int:
    """Room in tokens for a row of so many: powers of two."""
    return max(_SHORTEST, 1 << (tokens - 1).bit_length())
