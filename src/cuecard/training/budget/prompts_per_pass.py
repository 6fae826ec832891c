"""How many prompts fit into one pass."""

from __future__ import annotations

from cuecard.training.budget.activation_checkpointing import free_bytes, plan_activations
from cuecard.types import Backbone

_SHARE = 0.25  # of what is free
_MOST = 8  # beyond this a pass is as busy as it gets on a CPU; docs/speed.md


def fit_together(backbone: Backbone, tokens: int) -> int:
    """How many prompts to train in one pass if each has so many tokens in it, 1 to 8."""
    each = plan_activations("keep", backbone, tokens).nbytes
    return int(max(1, min(_MOST, _SHARE * free_bytes(backbone.device) // each)))
