"""Prompts of random vectors, without training."""

from __future__ import annotations

from typing import Any

import torch

from cuecard.artifacts import Prompt
from cuecard.tasks.spec import TaskSpec
from support.data.reviews import SPEC


def random_prompt(backbone: Any, seed: int = 0, spec: TaskSpec = SPEC, **more: Any) -> Prompt:
    """A prompt of four vectors; the same arguments, the same bytes.

    Args:
        more: what `Prompt.create` takes besides.
    """
    generator = torch.Generator().manual_seed(seed)
    return Prompt.create(
        torch.randn(4, backbone.hidden_size, generator=generator),
        backbone=backbone,
        spec=spec,
        method="prompt-tuning",
        method_config={"length": 4},
        seed=seed,
        **{"slot": "prefix", **more},
    )
