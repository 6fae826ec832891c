"""What a tuning, and a search for an extraction prompt, led to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cuecard.evaluation.report import plain
from cuecard.graphrag.corpus import Corpus
from cuecard.graphrag.measuring.measure import MeasureReport
from cuecard.graphrag.measuring.prompts import ExtractionPrompt
from cuecard.graphrag.optimising.objectives import Objective
from cuecard.graphrag.selection import ChunkSample
from cuecard.graphrag.tuning.tuner import TunedSources
from cuecard.runs.graphrag.recipe import TuneRecipe
from cuecard.search.budget import Amount, SearchBudget
from cuecard.search.costs import CostPart
from cuecard.search.found import Found


@dataclass(frozen=True)
class TuneCosts:
    """What a tuning will take at most, before it asks anything.

    Attributes:
        tokens: what texts are counted in.
    """

    sample: ChunkSample
    tokens: str
    parts: tuple[CostPart, ...]
    budget: SearchBudget

    @property
    def most(self) -> Amount:
        """In all."""
        return sum((part.most for part in self.parts), Amount())

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it, money in dollars."""
        return {
            "coverage": self.sample.coverage.to_dict(),
            "tokens": self.tokens,
            "parts": {part.name: {"what": part.what, **part.most.priced()} for part in self.parts},
            "at_most": self.most.priced(),
        }


@dataclass(frozen=True)
class TuneOutcome:
    """What a tuning led to.

    Attributes:
        tokens: what texts are counted in.
        files: the prompts.
        shown: how many examples are in the prompt that finds entities.
        settings: "section.key" -> what the project's settings should have there.
        backups: a file that was there before -> its copy.
        spent: by this command and those before it with the same journal.
    """

    recipe: TuneRecipe
    corpus: Corpus
    sample: ChunkSample
    tokens: str
    tuned: TunedSources
    files: tuple[Path, ...]
    shown: int
    settings: Mapping[str, Any]
    backups: Mapping[Path, Path]
    spent: Amount

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it."""
        tuned = self.tuned
        return {
            "settings": self.recipe.model_dump(mode="json"),
            "corpus": {
                "digest": self.corpus.digest,
                "documents": len(self.corpus.texts),
                "left_out": [asdict(each) for each in self.corpus.skipped],
            },
            "tokens": self.tokens,
            "coverage": self.sample.coverage.to_dict(),
            "chosen": [each.name for each in self.sample.chunks],
            "profile": tuned.sources.profile.to_dict(),
            "types": [each.to_dict() for each in tuned.types],
            "examples": [each.to_dict() for each in tuned.sources.examples],
            "examples_shown": self.shown,
            "asked": tuned.asked,
            "repaired": tuned.repaired,
            "problems": [asdict(each) for each in tuned.problems],
            "files": list(map(str, self.files)),
            "backups": {str(path): str(copy) for path, copy in self.backups.items()},
            "project_settings": dict(self.settings),
            "applied": self.recipe.apply,
            "spent": self.spent.priced(),
        }


@dataclass(frozen=True)
class OptimiseOutcome:
    """What a search for an extraction prompt led to.

    Attributes:
        prompt: what was kept, with its types in it.
        test: the start and the kept prompt on the test documents; None where the budget did not
            last for it.
    """

    folder: Path
    objective: Objective
    found: Found
    prompt: ExtractionPrompt
    test: MeasureReport | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it."""
        found = self.found
        told: dict[str, Any] = plain(
            {
                "objective": self.objective,
                "better": found.better,
                "rounds": found.rounds,
                "ended": found.ended,
                "spent": found.spent.priced(),
                **found.racers_to_dict(),
                "test": None if self.test is None else self.test.to_dict(),
                "prompt": self.prompt.template,
            }
        )
        return told
