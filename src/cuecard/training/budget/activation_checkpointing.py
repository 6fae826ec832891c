"""Activation checkpointing: whether activations are kept for the backward pass or recomputed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import psutil

from cuecard.errors import ConfigError
from cuecard.lazy import torch
from cuecard.tasks import batches_by_length
from cuecard.training.config import Activations, TrainConfig
from cuecard.types import Backbone, Recomputes

# Values kept per token and layer for the backward pass, in hidden sizes: the attention's four
# projections, the MLP's three of about three hidden sizes each, norms and residuals.
_KEPT_PER_LAYER = 20
# How much of what is free they may take.
_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class ActivationPlan:
    """What is done with activations.

    Attributes:
        how: "keep" or "recompute".
        nbytes: a rough peak above the weights.
        kept_nbytes: the same if all are kept.
    """

    how: Literal["keep", "recompute"]
    nbytes: int
    kept_nbytes: int

    @property
    def recompute(self) -> bool:
        """Whether layers run again in the backward pass."""
        return self.how == "recompute"


def plan_activations(wanted: Activations, backbone: Backbone, tokens: int) -> ActivationPlan:
    """Keep them, or recompute them where they would take too much of the free memory.

    Args:
        tokens: in the largest batch, padding and prompt counted in.

    Raises:
        ConfigError: "recompute" with a backbone that cannot.
    """
    able = isinstance(backbone, Recomputes)
    if wanted == "recompute" and not able:
        raise ConfigError(
            "this backbone does not support activation checkpointing",
            where="training.activations",
            got=wanted,
            expected="keep or auto",
        )
    size = tokens * backbone.hidden_size * backbone.dtype.itemsize
    kept, again = activation_bytes(size, backbone.num_layers)
    much = wanted == "auto" and able and kept > _SHARE * free_bytes(backbone.device)
    if wanted == "recompute" or much:
        return ActivationPlan("recompute", again, kept)
    return ActivationPlan("keep", kept, kept)


def activation_bytes(size: int, layers: int) -> tuple[int, int]:
    """What is held for the backward pass: if all is kept, and if layers run again.

    Args:
        size: bytes of one layer's input, of all tokens.
    """
    # Every layer's input, and all of the one layer that runs again.
    return size * layers * _KEPT_PER_LAYER, size * (layers + _KEPT_PER_LAYER)


@contextmanager
def recomputing(backbone: Backbone, wanted: bool) -> Iterator[None]:
    """Let the backbone recompute activations, or not, for a while."""
    if not isinstance(backbone, Recomputes):
        yield
        return
    before = backbone.recompute
    backbone.recompute = wanted
    try:
        yield
    finally:
        backbone.recompute = before


def largest_batch(lengths: Sequence[int], prompt_length: int, config: TrainConfig) -> int:
    """Tokens in the first epoch's largest batch, padding counted in, the prompt once.

    Args:
        lengths: of the rows, context and target together.
    """
    batches = batches_by_length(lengths, config.batch_rows, config.batch_tokens, config.seed, 0)
    return max(len(batch) * max(lengths[i] for i in batch) for batch in batches) + prompt_length


def free_bytes(device: torch.device) -> int:
    """Memory that is free where a backbone runs."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)
