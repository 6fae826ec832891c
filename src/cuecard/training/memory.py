"""How much memory a training step takes, roughly, and what fits."""

from __future__ import annotations

import psutil
import torch

from cuecard.types import Backbone

# Values kept per token and layer for the backward pass, in hidden sizes: the attention's four
# projections, the MLP's three of about three hidden sizes each, norms and residuals.
_KEPT_PER_LAYER = 20
_SHARE = 0.25  # of what is free
_MOST = 8  # beyond this a pass is as busy as it gets on a CPU; docs/speed.md


def activation_bytes(backbone: Backbone, tokens: int) -> int:
    """A rough peak above the weights for a pass of so many tokens and its gradients."""
    size = torch.finfo(backbone.dtype).bits // 8
    return tokens * backbone.num_layers * backbone.hidden_size * _KEPT_PER_LAYER * size


def fit_together(backbone: Backbone, tokens: int) -> int:
    """How many prompts to train in one pass if each has so many tokens in it, 1 to 8."""
    if backbone.device.type == "cuda":
        free = torch.cuda.mem_get_info(backbone.device)[0]
    else:
        free = psutil.virtual_memory().available
    return int(max(1, min(_MOST, _SHARE * free // activation_bytes(backbone, tokens))))
