"""Run tokens after kept keys and values, and keep what every layer's attention is asked with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cuecard.backbones.forward.frozen import FrozenModel
from cuecard.backbones.kernels.queries import NAME, UnwatchableError, watching_queries
from cuecard.errors import BackboneError
from cuecard.types import LayerAttention


class QueryRun:
    """Runs one row at a time with attention of our own.

    Args:
        name: of the backbone, for messages.
        slides: whether some layers see a window alone.
    """

    def __init__(self, frozen: FrozenModel, name: str, *, slides: bool) -> None:
        self._frozen, self._name, self._slides = frozen, name, slides

    def __call__(
        self, ids: Sequence[int], kept: Tensor | None, position: int
    ) -> list[LayerAttention]:
        """See `ShowsQueries.layer_attention`."""
        frozen = self._frozen
        if self._slides or not frozen.takes_positions:
            what = "a sliding window" if self._slides else "no positions to be given"
            raise self._refused(what)
        row = torch.tensor(ids, device=frozen.device)
        nothing = row[:0]
        try:
            with (
                frozen.uncounted(),
                frozen.attending(NAME),
                watching_queries() as seen,
                frozen.read_at(nothing, nothing),
            ):
                frozen.call(
                    torch.as_tensor(frozen.embed(row))[None],
                    lambda _: frozen.attending(NAME),
                    **self._options(len(row), kept, position),
                )
        except (UnwatchableError, IndexError, ValueError, TypeError) as error:
            raise self._refused(str(error).partition("\n")[0]) from error
        if len(seen) != frozen.layers:
            raise self._refused("an attention of its own")
        return seen

    def _options(self, count: int, kept: Tensor | None, position: int) -> dict[str, Any]:
        """What the model is called with beside the embeddings."""
        frozen, before = self._frozen, 0 if kept is None else kept.shape[3]
        cache = frozen.new_cache()
        for index, (keys, values) in enumerate([] if kept is None else kept.to(frozen.dtype)):
            cache.update(keys[None], values[None], index)
        places = torch.arange(position, position + count, device=frozen.device)
        return {
            "attention_mask": torch.ones(1, before + count, device=frozen.device).long(),
            "position_ids": places[None],
            frozen.cache_name: cache,
            "use_cache": True,
        }

    def _refused(self, got: str) -> BackboneError:
        return BackboneError(
            "what this backbone's attention is asked with cannot be seen",
            where=self._name,
            got=got,
            expected="plain causal attention over all that comes before",
        )
