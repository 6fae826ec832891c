"""The shared vectors and the factors of each task that MPT trains. See `methods/mpt.py`."""

from __future__ import annotations

from torch import Tensor, nn

from cuecard.types import InputTokens, ParameterGroup


class TaskPrompts(nn.Module):
    """The shared vectors P* [P, H], and u [K, P] and v [K, H] of K tasks, in float32."""

    def __init__(self, vectors: Tensor, columns: Tensor, rows: Tensor, factors_lr: float) -> None:
        super().__init__()
        self._lr = factors_lr
        self.vectors = nn.Parameter(vectors.float())
        self.columns, self.rows = nn.Parameter(columns.float()), nn.Parameter(rows.float())

    def groups(self) -> tuple[ParameterGroup, ...]:
        """The shared vectors at the run's rate, the factors at their own."""
        return ParameterGroup((self.vectors,)), ParameterGroup((self.columns, self.rows), self._lr)

    def injection(self, task: int = 0) -> InputTokens:
        """P* o (u_k (x) v_k) of task k."""
        factor = self.columns[task][:, None] * self.rows[task]
        return InputTokens(self.vectors * factor)

    def alone(self, task: int) -> TaskPrompts:
        """A copy with one task alone, whose injection is that task's."""
        kept = (self.columns[task : task + 1], self.rows[task : task + 1])
        columns, rows = (factor.detach().clone() for factor in kept)
        return TaskPrompts(self.vectors.detach().clone(), columns, rows, self._lr)

    def penalty(self) -> Tensor | None:
        """None."""
        return None
