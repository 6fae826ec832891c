"""A contest that was run: who was best, by how much, at what cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cuecard.comparison.contest.runner import Ranked
from cuecard.comparison.contest.standing import Standing
from cuecard.evaluation.evaluate import Gain, gain
from cuecard.tasks import Task

MANY = 20
"""Tasks in one server, in the column that says what they take."""


@dataclass(frozen=True)
class ContestResult:
    """A contest that was run.

    Attributes:
        task: with the rows that it was run on.
        ranked: in the contenders' order.
        price: of an hour of the machine; None for no column of money.
    """

    task: Task
    ranked: tuple[Ranked, ...]
    price: float | None = None
    _gains: dict[tuple[str, str], Gain] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def rows(self) -> int:
        """Training rows."""
        return len(self.task.train)

    @property
    def metric(self) -> str:
        """What is compared, larger is better."""
        return self.task.spec.task_kind.headline

    @property
    def tested(self) -> list[Ranked]:
        """Those with a result."""
        return [each for each in self.ranked if each.test is not None]

    @property
    def reference(self) -> Ranked | None:
        """Of those that ask the frozen backbone in words the best on validation rows."""
        asked = [each for each in self.tested if each.standing.untrained]
        return max(asked, key=lambda each: each.standing.score or 0.0, default=None)

    def gain_over(self, better: Ranked, worse: Ranked) -> Gain:
        """The paired difference on the test rows, computed once: F1's takes a bootstrap."""
        pair = better.standing.name, worse.standing.name
        if pair not in self._gains:
            assert better.test is not None
            assert worse.test is not None
            self._gains[pair] = gain(better.test, worse.test, metric=self.metric)
        return self._gains[pair]

    def cost(self, standing: Standing) -> float | None:
        """Money, by the hours of the machine."""
        return None if self.price is None else self.price * standing.seconds / 3600

    def many_bytes(self, standing: Standing) -> int:
        """Memory of a server with so many tasks: what they share, and each one's own."""
        return standing.shared_bytes + MANY * standing.nbytes

    def facts(self) -> dict[str, Any]:
        """The contest as JSON knows it."""
        reference = self.reference
        return {
            "rows": self.rows,
            "train_rows": self.rows,
            "validation_rows": len(self.task.validation),
            "test_rows": len(self.task.test),
            "data_hash": self.task.report.data_hash,
            "reference": None if reference is None else reference.standing.name,
            "contestants": {each.standing.name: self._facts_of(each) for each in self.tested},
            "left_out": {
                each.standing.name: each.standing.left_out
                for each in self.ranked
                if each.test is None
            },
            "pairs": self._pairs(),
        }

    def _facts_of(self, each: Ranked) -> dict[str, Any]:
        standing, test, reference = each.standing, each.test, self.reference
        assert test is not None
        over = None if reference in (None, each) else self.gain_over(each, reference)
        return {
            "title": standing.title,
            "score": float(test.metrics[self.metric]),
            "ci95": test.ci95.get(self.metric),
            "metrics": {k: v for k, v in test.metrics.items() if k != "confusion"},
            "gain_over_reference": None if over is None else over.value,
            "gain_over_reference_ci95": None if over is None else over.ci95,
            "validation": standing.score,
            "parameters": standing.parameters,
            "bytes_per_task": standing.nbytes,
            "cpu_seconds": standing.cpu_seconds,
            "seconds": standing.seconds,
            "peak_bytes": standing.peak_bytes,
            "cost": self.cost(standing),
            "weights": standing.weights,
            "weights_changed": standing.weights and standing.weights.changed,
            "forgetting": standing.forgetting,
            "other_tasks": standing.others,
            "switch": standing.switch,
            f"bytes_of_{MANY}_tasks": self.many_bytes(standing),
            "prompt_tokens": test.tokens_per_request,
            "test_seconds": test.seconds,
            "facts": standing.facts,
        }

    def _pairs(self) -> list[dict[str, Any]]:
        """Every two of them, the later one minus the earlier one."""
        found = []
        for place, worse in enumerate(self.tested):
            for better in self.tested[place + 1 :]:
                one = self.gain_over(better, worse)
                names = {"a": better.standing.name, "b": worse.standing.name}
                found.append({**names, "a_minus_b": one.value, "ci95": one.ci95})
        return found
