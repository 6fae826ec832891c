"""Multitask prompt tuning (MPT): one prompt for many tasks, and a rank-one matrix for each.

Formula: P_k = P* o (u_k (x) v_k), o the Hadamard product, with P* in R^{P x H} of all tasks and
u_k in R^P, v_k in R^H of task k alone, and two learning rates.
Paper: Wang et al., "Multitask Prompt Tuning Enables Parameter-Efficient Transfer Learning" (ICLR
2023, arXiv:2303.02861), section 3.1. Training on a mix of source tasks: `training/multitask.py`.

Every u and v begins as ones, so that each task begins with the shared prompt exactly. PEFT draws
both from N(0, 0.02), and its prompt begins near zero (`peft/tuners/multitask_prompt_tuning`).
A target task starts from P* o mean_k (u_k (x) v_k), see `SharedPrompt.start`: that product becomes
its P*, and its own u and v are ones again. The prompt is the same as with factors that begin at the
mean, which is of rank one only by chance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from cuecard.lazy import torch
from cuecard.methods.start import StartSettings
from cuecard.types import InitContext

if TYPE_CHECKING:
    from torch import Tensor

    from cuecard.methods.modules.task_prompts import TaskPrompts


class MPT(StartSettings):
    """Settings of multitask prompt tuning, for its source tasks and for a target task.

    Attributes:
        factors_lr: the peak learning rate of u and v, which begin at one; P* takes the run's.
    """

    name: ClassVar[str] = "mpt"
    about: ClassVar[str] = "vectors of all tasks times a rank-one matrix of each"
    several_tasks: ClassVar[bool] = True

    factors_lr: float = Field(default=0.01, gt=0, allow_inf_nan=False)

    def build(self, context: InitContext) -> TaskPrompts:
        """Make the prompt of one task.

        Raises:
            ConfigError: an init that this backbone or task cannot give.
        """
        return self.build_for(1, context)

    def build_for(self, tasks: int, context: InitContext) -> TaskPrompts:
        """Make the shared prompt and the factors of several tasks.

        Raises:
            ConfigError: as `build`.
        """
        from cuecard.methods.modules.task_prompts import TaskPrompts  # noqa: PLC0415 - it needs torch

        vectors = self.start(context)
        columns, rows = (vectors.new_ones(tasks, size) for size in vectors.shape)
        return TaskPrompts(vectors, columns, rows, self.factors_lr)


def mean_start(vectors: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """[P, H] P* o mean_k (u_k (x) v_k), of P* [P, H], u [K, P] and v [K, H]."""
    return vectors * torch.einsum("kp,kh->ph", columns, rows) / len(columns)
