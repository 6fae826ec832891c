"""Prompts as models of EleutherAI's lm-evaluation-harness.

In Python `lm_eval.simple_evaluate(model=CuecardLM(prompt="runs/tickets"), tasks=[...])`; on the
command line `python -m cuecard.integrations.lm_eval run --model cuecard --model_args ...`, since
the harness knows its own models alone until this package is imported.
"""

from typing import TYPE_CHECKING

from cuecard.lazy import lazy_exports

if TYPE_CHECKING:
    from cuecard.integrations.lm_eval.harness_model import CuecardLM

__getattr__, __dir__ = lazy_exports(__name__, {".harness_model": ("CuecardLM",)})

__all__ = ["CuecardLM"]
