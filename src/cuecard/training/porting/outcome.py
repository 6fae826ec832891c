"""What a port leads to, and whether the new prompt was shown to be no worse than the old one."""

from __future__ import annotations

from dataclasses import dataclass

from cuecard.artifacts import Prompt
from cuecard.evaluation.evaluate import Evaluation, gain
from cuecard.metrics.margin import FEWEST
from cuecard.tasks import Task
from cuecard.training.distilling.fidelity import Fidelity
from cuecard.training.porting.settings import PortConfig
from cuecard.training.porting.sources import PortSource
from cuecard.training.run import Run
from cuecard.types import Interval


@dataclass(frozen=True, slots=True)
class PortGate:
    """One condition of a promotion.

    Attributes:
        name: "agreement" or "score".
        rows: how many it was measured on.
        value: the agreement, or how much the old prompt's score is above the new one's.
        ci95: of `value`.
        limit: what the interval's end must not fall below (agreement) or exceed (score).
        passed: whether it does not, on enough rows.
    """

    name: str
    rows: int
    value: float
    ci95: Interval
    limit: float
    passed: bool


@dataclass(frozen=True)
class PortedPrompt:
    """A prompt and what became of it on the new backbone.

    Attributes:
        source: the old prompt.
        task: its inputs with its answers.
        learnt: what of the answers was learnt.
        left_out: inputs that it answers with nothing, and copies.
        run: the training.
        prompt: the new prompt, which says where it comes from.
        fidelity: how nearly it answers held-out inputs as the old one.
        untrained: how nearly the new backbone does without a prompt.
        old_score, new_score: on the labelled rows; None where there are none.
        gates: what decides whether it may take the old one's place.
    """

    source: PortSource
    task: Task
    learnt: str
    left_out: int
    run: Run
    prompt: Prompt
    fidelity: Fidelity
    untrained: Fidelity
    old_score: Evaluation | None
    new_score: Evaluation | None
    gates: tuple[PortGate, ...]

    @property
    def passed(self) -> bool:
        """Whether it may take the old prompt's place."""
        return all(gate.passed for gate in self.gates)


def gates_of(
    fidelity: Fidelity, old: Evaluation | None, new: Evaluation | None, config: PortConfig
) -> tuple[PortGate, ...]:
    """Agreement on held-out inputs, and on labelled rows that the score is no worse.

    By the ends of the intervals, as in a promotion: what few rows do not show is refused.
    """
    low, least = fidelity.agreement_ci95.low, 1 - config.tolerance
    enough = fidelity.rows >= FEWEST and low >= least
    measured = fidelity.agreement, fidelity.agreement_ci95
    gates = [PortGate("agreement", fidelity.rows, *measured, least, enough)]
    if old is not None and new is not None:
        lost = gain(old, new)
        rows = len(new.records)
        enough = rows >= FEWEST and lost.ci95.high <= config.margin
        gates.append(PortGate("score", rows, lost.value, lost.ci95, config.margin, enough))
    return tuple(gates)
