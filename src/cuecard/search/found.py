"""What a search found, and by how much it is better than what it began with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cuecard.metrics.intervals import paired_interval
from cuecard.search.budget import Amount
from cuecard.search.candidate import PromptCandidate
from cuecard.search.race import Racer
from cuecard.types import Interval
from cuecard.validation_text import counted


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        best: the prompt that is kept; the start where nothing was better.
        start: the prompt that was to be improved.
        finals: who answered the validation rows, best first, with their answers.
        ranked: all candidates with their answers to training rows, best first.
        rounds: that were finished.
        ended: why there were no more.
        spent: in all sittings.
        told: events of the searcher's own.
    """

    best: PromptCandidate
    start: PromptCandidate
    finals: tuple[Racer, ...]
    ranked: tuple[Racer, ...]
    rounds: int
    ended: str
    spent: Amount
    told: tuple[dict[str, Any], ...] = ()

    @property
    def better(self) -> bool:
        """Whether something was better than the start."""
        return self.best.key != self.start.key

    @property
    def effort(self) -> str:
        """How many candidates beside the start there were, what all took, why it ended."""
        tried = f"{counted(len(self.ranked) - 1, 'candidate')} in {counted(self.rounds, 'round')}"
        return f"{tried}: {self.spent.text}; {self.ended}"

    def validation(self, candidate: PromptCandidate) -> float:
        """A finalist's score on the validation rows."""
        return next(racer.score for racer in self.finals if racer.candidate.key == candidate.key)

    def racers_to_dict(self) -> dict[str, Any]:
        """For reports: finalists in full, and all candidates."""
        return {
            "validation": [
                {"origin": r.candidate.origin, "score": r.score, **r.candidate.to_dict()}
                for r in self.finals
            ],
            "candidates": [
                {"origin": r.candidate.origin, "score": r.score, "rows": len(r.answers)}
                for r in self.ranked
            ],
        }

    @property
    def margin(self) -> tuple[float, Interval] | None:
        """By how much on the validation rows, with its paired 95% interval; None by nothing.

        The best of several looks better there than it is, which the interval knows nothing of.
        """
        if not self.better:
            return None
        racers = {racer.candidate.key: racer for racer in self.finals}
        best, start = racers[self.best.key], racers[self.start.key]
        scores = ([answer.score for answer in racer.answers] for racer in (best, start))
        return best.score - start.score, paired_interval(*scores)
