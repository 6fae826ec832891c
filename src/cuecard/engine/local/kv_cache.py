"""What a row needs before it runs: its prompt's keys and values, and its own embeddings."""

from __future__ import annotations

import torch
from torch import Tensor

from cuecard.backbones import CausalBackbone
from cuecard.backbones.forward.injected import Injected
from cuecard.backbones.forward.ragged import PrefillChunk, RaggedRun
from cuecard.engine.local.chunks import behind, lay_out, next_stretch, prompt_alone
from cuecard.engine.local.prefix_caching import PrefixDetector
from cuecard.engine.local.prompt_cache import Key, PromptCache
from cuecard.engine.local.requests import SequenceState
from cuecard.engine.local.settings import LocalSettings
from cuecard.engine.protocol import Held
from cuecard.errors import BackboneError
from cuecard.types import PrefixKV

# A row is not cut into pieces smaller than this to fill a pass.
_LEAST = 32


class KVCacheManager:
    """Readies rows, and keeps what later rows will need."""

    def __init__(self, backbone: CausalBackbone, run: RaggedRun, settings: LocalSettings) -> None:
        self._backbone, self._run, self._settings = backbone, run, settings
        self._least = min(_LEAST, settings.max_num_batched_tokens)
        self.cache = PromptCache(settings.cache_bytes)
        self._beginnings = PrefixDetector()
        self._making: set[Key] = set()
        self.reused = 0

    def check(self, row: SequenceState, new_tokens: int) -> None:
        """See that a row fits.

        Raises:
            BackboneError: a mask to read at, or too many tokens.
        """
        if row.mask is not None:
            raise BackboneError(
                "this backbone reads behind a text, and not at a mask",
                where=self._backbone.name,
                got=f"a row with a mask at token {row.mask}",
                expected="a template without {mask}",
            )
        injection = None if row.prompt is None else row.prompt.injection
        vectors = 0 if injection is None else injection.length
        longest = max((len(word) - 1 for word in row.words), default=0)
        length = vectors + len(row.ids) + max(longest, new_tokens)
        if length > self._backbone.max_positions:
            raise BackboneError(
                "the input with its prompt and answer is longer than the backbone's positions",
                where=self._backbone.name,
                got=f"{length} tokens",
                expected=f"at most {self._backbone.max_positions}",
                hint="a shorter input or a smaller answer",
            )

    def check_prompt(self, prompt: Held) -> None:
        """See that a prompt fits.

        Raises:
            BackboneError: it has other sizes than the backbone.
        """
        self._backbone.tensors(prompt.injection)

    def prompt(self, row: SequenceState) -> PrefillChunk | None:
        """Give a row its prompt's keys and values.

        Returns:
            The prompt, if it has to run first or with the row. None if it has not, or if it has to
            wait; the row `has_prompt` or has not.
        """
        if self.has_prompt(row):
            return None
        key: Key = (row.digest, ())
        kept = self.cache.take(key)
        if kept is not None:
            self._pin(row, key)
            row.ahead = (kept,)
            self.reused += kept.shape[3]
            return None
        if self.cache.is_promised(key):
            return None
        assert row.prompt is not None
        injection = row.prompt.injection
        given = self._backbone.tensors(injection)
        if not self.cache.promise(key, injection.length * self._run.shape.token_bytes):
            return None
        row.pins.append(key)
        if not isinstance(injection, PrefixKV):
            return prompt_alone(given)
        assert given.prefix is not None
        self.cache.put(key, given.prefix)
        row.ahead = (given.prefix,)
        return None

    def has_prompt(self, row: SequenceState) -> bool:
        """Whether a row has all that must stand in front of it."""
        return bool(row.ahead) or not row.stands_ahead

    def is_new(self, row: SequenceState) -> bool:
        """Whether a row's prompt would have to run with it."""
        key: Key = (row.digest, ())
        return row.stands_ahead and key not in self.cache and not self.cache.is_promised(key)

    def with_prompt(self, row: SequenceState, prompt: PrefillChunk, room: int) -> PrefillChunk:
        """A prompt that has to run, and as much of its row behind it as there is room for."""
        rest = self.chunk(row, room - len(prompt.embeds))
        return prompt if rest is None else behind(prompt, rest)

    def chunk(self, row: SequenceState, room: int) -> PrefillChunk | None:
        """The next of a row, its prompt left out; None if the room is too small."""
        if row.given is None:
            row.given = self._given(row)
        if row.body is None:
            self._begin(row, row.given)
        return next_stretch(row, row.given, room, self._least)

    def keeps(self, row: SequenceState, chunk: PrefillChunk) -> bool:
        """Whether a chunk's keys and values are needed when it has run."""
        assert row.body is not None
        return not chunk.reads or bool(row.beginning)

    def prompt_ran(self, row: SequenceState, keys_values: Tensor) -> None:
        """Keep a prompt's keys and values, and give them to the row that made them be run."""
        self.cache.put((row.digest, ()), keys_values)
        row.ahead = (keys_values,)

    def row_ran(self, row: SequenceState) -> None:
        """A row came to its end: keep what others will begin with, and let go of the rest."""
        if row.beginning:
            key = (row.digest, row.beginning)
            own = torch.cat(row.own, 3)[:, :, :, : len(row.beginning)].clone()
            self.cache.put(key, own)
        self.let_go(row)

    def let_go(self, row: SequenceState) -> None:
        """A row needs nothing any more."""
        if row.beginning:
            self._making.discard((row.digest, row.beginning))
            row.beginning = ()
        for key in row.pins:
            self.cache.unpin(key)
        row.pins, row.ahead, row.own, row.body = [], (), (), None

    def forget(self, digest: str) -> None:
        """A prompt is no longer served."""
        self.cache.forget(digest)
        self._beginnings.forget(digest)

    def _pin(self, row: SequenceState, key: Key) -> None:
        if key in row.pins:
            self.cache.unpin(key)
        else:
            row.pins.append(key)

    def _given(self, row: SequenceState) -> Injected:
        injection = None if row.prompt is None else row.prompt.injection
        return self._backbone.tensors(None if isinstance(injection, PrefixKV) else injection)

    def _begin(self, row: SequenceState, given: Injected) -> None:
        """Lay a row out behind what is kept of it."""
        inside = len(given.vectors) and not row.stands_ahead
        if self._settings.prefix_caching:
            self._find_beginning(row, row.ids[: row.slot if inside else -1])
        row.body = lay_out(self._run, row, given)

    def _find_beginning(self, row: SequenceState, ids: tuple[int, ...]) -> None:
        beginning = self._beginnings.meet(row.digest, ids)
        if not beginning:
            return
        key = (row.digest, beginning)
        # What is kept of a row stands behind its prompt, which has to be there.
        kept = self.cache.take(key) if self.has_prompt(row) else None
        if kept is not None:
            row.pins.append(key)
            row.ahead, row.skip = (*row.ahead, kept), len(beginning)
            self.reused += len(beginning)
        elif key not in self.cache and key not in self._making and self._fits(beginning):
            self._making.add(key)
            row.beginning = beginning

    def _fits(self, ids: tuple[int, ...]) -> bool:
        """Whether a beginning leaves most of the cache to others."""
        return len(ids) * self._run.shape.token_bytes * 8 <= self._settings.cache_bytes
