"""A race: candidates answer block after block of rows, and those that are clearly worse drop out.

As in CAPO (Zehle et al. 2025, section 3.3): paired t-tests on the rows that all have answered. The
level is divided by the number of candidates that are compared (Bonferroni), since among many of
them some look bad by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

from cuecard.lazy import lazy_module, np
from cuecard.search.candidate import PromptCandidate
from cuecard.search.settings import SearchSettings
from cuecard.search.solver import Judged, Solver
from cuecard.tasks import TaskSpec
from cuecard.tasks.splits import drawn_at
from cuecard.types import Record

stats = lazy_module("scipy.stats")

# Of the test by which a candidate drops out, before it is divided.
_LEVEL = 0.2


@dataclass
class Racer:
    """A candidate, and its answers so far.

    Attributes:
        answers: of the first rows, in order.
    """

    candidate: PromptCandidate
    answers: list[Judged] = field(default_factory=list)

    @property
    def score(self) -> float:
        """The mean of its answers; 0 without any."""
        return mean(each.score for each in self.answers) if self.answers else 0.0

    def told(self, spec: TaskSpec) -> dict[str, Any]:
        """The candidate and what it is worth so far, for a log.

        Args:
            spec: the task that it asks.
        """
        words = {"text": self.candidate.text(spec), "beside": self.candidate.beside}
        return {**self.named(), "score": self.score, "rows": len(self.answers), **words}

    def named(self) -> dict[str, str]:
        """Which candidate it is."""
        return {"key": self.candidate.key, "origin": self.candidate.origin}


def raced_rows(train: Sequence[Record], settings: SearchSettings) -> list[Record]:
    """The training rows that candidates race on.

    In the order of a draw: files are often sorted by label, and a race begins with a few.
    """
    salt = f"search {settings.seed}"
    drawn = sorted(train, key=lambda record: drawn_at(record, salt))
    return drawn[: min(settings.rows, len(train) // 2)]


async def race(
    racers: Sequence[Racer],
    solver: Solver,
    rows: Sequence[Record],
    *,
    block: int,
) -> list[Racer]:
    """The racers, best first; those that ran to the end before those that dropped out.

    Args:
        racers: hold what was answered, also where the budget ends before the race does.
        rows: in an order that says nothing of them.
        block: rows that it goes on by.

    Raises:
        BudgetSpent, LLMError, ConfigError: as `Solver.judge`.
    """
    running = list(racers)
    dropped: list[Racer] = []
    for start in range(0, len(rows), block):
        some = rows[start : start + block]
        for racer in running:
            racer.answers += await solver.judge(racer.candidate, some)
        if start + block < len(rows):
            running, worse = _without_losers(running)
            dropped = [*sorted(worse, key=_score, reverse=True), *dropped]
    return [*sorted(running, key=_score, reverse=True), *dropped]


def _score(racer: Racer) -> float:
    return racer.score


def _without_losers(running: Sequence[Racer]) -> tuple[list[Racer], list[Racer]]:
    """Those that may still be the best, and those that are clearly worse than the best one."""
    best = max(running, key=_score)
    level = _LEVEL / max(1, len(running) - 1)
    kept: list[Racer] = []
    worse: list[Racer] = []
    for racer in running:
        loses = racer is not best and is_worse(racer, best, level)
        (worse if loses else kept).append(racer)
    return kept, worse


def is_worse(racer: Racer, best: Racer, level: float) -> bool:
    """Whether a paired, one-sided t-test says that a racer is worse on the rows of both."""
    count = min(len(racer.answers), len(best.answers))
    pairs = zip(racer.answers[:count], best.answers[:count], strict=True)
    differences = np.asarray([theirs.score - own.score for own, theirs in pairs])
    if count < 2 or differences.mean() <= 0:
        return False
    spread = differences.std(ddof=1) / count**0.5
    if spread == 0:
        return True  # worse on every row alike
    return bool(stats.t.sf(differences.mean() / spread, count - 1) < level)
