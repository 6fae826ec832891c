"""The extraction benchmark's plan, and its cells: a model, a set, a seed, a contestant."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.graphrag.sets import ExtractionSizes
from benchmarks.workers import short_key

GENERIC, TUNED, OPTIMISED, SOFT = "generic", "tuned", "optimised", "soft"
DEFAULT, PROMPT_TUNE = "GraphRAG's default", "GraphRAG's tuning"
TUNED_GOLD, TUNED_JSON = "tuned on gold", "tuned on gold, in JSON"


@dataclass(frozen=True)
class Plan:
    """What every cell is run with.

    Attributes:
        corpora: the folder of the gold sets.
        answer_tokens: of an answer, at most.
        calls: of a search, at most.
        steps, batch_rows: of the soft prompt's training.
        trains: models that a soft prompt is trained for.
        at_once: requests that share passes.
    """

    corpora: str
    sizes: ExtractionSizes = field(default_factory=ExtractionSizes)
    answer_tokens: int = 256
    calls: int = 96
    searcher: str = "demonstrations"
    steps: int = 40
    batch_rows: int = 8
    trains: tuple[str, ...] = ()
    at_once: int = 16

    @property
    def key(self) -> str:
        """Names the folder: cells of another plan are not taken for this one's."""
        return short_key(asdict(self))


@dataclass(frozen=True)
class Cell:
    """A model, a set, a seed and a contestant."""

    plan: Plan
    model: str
    set: str
    seed: int
    contestant: str

    def file(self, folder: Path) -> Path:
        """Where its result goes."""
        return self.room(folder).with_suffix(".json")

    def room(self, folder: Path) -> Path:
        """Where its contestant is made and measured."""
        name = "-".join(re.findall(r"\w+", self.contestant))
        return folder / self.plan.key / Path(self.model).name / self.set / str(self.seed) / name

    def beside(self, contestant: str) -> Cell:
        """The cell of another contestant."""
        return Cell(self.plan, self.model, self.set, self.seed, contestant)

    @property
    def first(self) -> Cell | None:
        """The cell whose prompt it begins with; None where it begins with none."""
        return self.beside(TUNED_GOLD) if self.contestant == OPTIMISED else None
