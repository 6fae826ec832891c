"""Measures extraction prompts on the same texts: what each is worth, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from cuecard.graphrag.answers import FORMS, Form, ReadAnswer
from cuecard.graphrag.gold import TextSet
from cuecard.graphrag.measuring.figures import Figure
from cuecard.graphrag.measuring.matching import Match, What
from cuecard.graphrag.measuring.prompts import ExtractionPrompt
from cuecard.graphrag.measuring.scores import ExtractionScores, all_scores
from cuecard.graphrag.measuring.settings import MeasureSettings
from cuecard.graphrag.measuring.signals import SIGNALS, SignalShares, agreement
from cuecard.llms.prices import Price
from cuecard.llms.protocol import LLMAnswer, TokenUsage
from cuecard.search.asker import Asker
from cuecard.search.budget import MICRO, Amount
from cuecard.types import Interval

Row = TypeVar("Row")

# Requests between two reports of progress.
_BLOCK = 32


@dataclass(frozen=True)
class PromptMeasure:
    """What a prompt is worth.

    Attributes:
        answers: of the run that is scored, as they were given.
        read: the same, as they are read.
        scores: of entities and relations; empty without gold.
        signals: without gold.
        agreement: of the other runs with the first one; None where there is one run.
        price: of tokens.
    """

    name: str
    form: Form
    answers: tuple[LLMAnswer, ...]
    read: tuple[ReadAnswer, ...]
    scores: Mapping[tuple[What, Match], ExtractionScores]
    signals: SignalShares
    agreement: ExtractionScores | None
    price: Price

    @classmethod
    def of(
        cls,
        name: str,
        form: Form,
        runs: Sequence[Sequence[LLMAnswer]],
        texts: TextSet,
        types: Sequence[str],
        price: Price,
    ) -> PromptMeasure:
        """What answers are worth.

        Args:
            runs: each with an answer to each text; the first one is scored.
        """
        read = [[FORMS[form].read(answer.text, types) for answer in run] for run in runs]
        first = [each.extraction for each in read[0]]
        others = [each.extraction for run in read[1:] for each in run]
        return cls(
            name,
            form,
            tuple(runs[0]),
            tuple(read[0]),
            all_scores(texts.texts, first) if texts.labelled else {},
            SignalShares.of(read[0], [text.text for text in texts.texts]),
            agreement(others, first * (len(runs) - 1)) if others else None,
            price,
        )

    @cached_property
    def usage(self) -> TokenUsage:
        """Tokens of the run that is scored."""
        parts = [each.usage for each in self.answers]
        return TokenUsage(
            sum(each.prompt_tokens for each in parts),
            sum(each.completion_tokens for each in parts),
        )

    @property
    def dollars(self) -> float:
        """What a chunk costs."""
        spent = sum(self.price.of(each.usage) for each in self.answers)
        return spent / MICRO / len(self.answers)

    @property
    def cut(self) -> int:
        """How many answers were cut at their limit of tokens."""
        return sum(each.finish_reason == "length" for each in self.answers)

    @cached_property
    def figures(self) -> dict[str, Figure]:
        """Its numbers that can be compared with another prompt's, by name."""
        found: dict[str, Figure] = {}
        for (what, match), scores in self.scores.items():
            for rate in ("f1", "precision", "recall"):
                found[f"{what} {rate}, {match}"] = scores.figure(rate)
        found |= {name: self.signals.figure(name) for name in SIGNALS}
        if self.agreement is not None:
            found["agreement"] = self.agreement.figure()
        return found

    def to_dict(self, seed: int) -> dict[str, Any]:
        """As JSON knows it."""
        chunks = len(self.answers)
        scores: dict[str, dict[str, Any]] = {}
        for (what, match), each in self.scores.items():
            scores.setdefault(what, {})[match] = each.to_dict(seed)
        figure = None if self.agreement is None else self.agreement.figure()
        return {
            "name": self.name,
            "form": self.form,
            "scores": scores,
            "signals": self.signals.to_dict(seed),
            "agreement": figure and {"value": figure.value, "ci95": figure.interval(seed)},
            "tokens_per_chunk": {
                "read": self.usage.prompt_tokens / chunks,
                "written": self.usage.completion_tokens / chunks,
            },
            "dollars_per_chunk": self.dollars,
            "cut": self.cut,
        }


@dataclass(frozen=True, slots=True)
class FigureRow:
    """A number of all prompts.

    Attributes:
        values: each prompt's, with its interval.
        gains: over the first prompt, of each other one, with its paired interval.
    """

    name: str
    values: tuple[tuple[float, Interval], ...]
    gains: tuple[tuple[float, Interval], ...]


@dataclass(frozen=True)
class MeasureReport:
    """Prompts on the same texts.

    Attributes:
        measures: the one that others are compared with is the first.
        spent: in all sittings, by all runs.
    """

    texts: TextSet
    settings: MeasureSettings
    measures: tuple[PromptMeasure, ...]
    spent: Amount

    def rows(self, names: Sequence[str] = ()) -> list[FigureRow]:
        """The numbers that all prompts have; only those of some names where these are given."""
        known = [name for name in self.measures[0].figures if not names or name in names]
        return [self._row(name) for name in known]

    def _row(self, name: str) -> FigureRow:
        seed = self.settings.seed
        first, *others = figures = [each.figures[name] for each in self.measures]
        return FigureRow(
            name,
            tuple((each.value, each.interval(seed)) for each in figures),
            tuple((each.value - first.value, each.gain(first, seed)) for each in others),
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it."""
        first = self.measures[0].name
        names = [each.name for each in self.measures[1:]]
        gains: dict[str, dict[str, Any]] = {name: {} for name in names}
        for row in self.rows():
            for name, (value, interval) in zip(names, row.gains, strict=True):
                gains[name][row.name] = {"value": value, "ci95": interval}
        return {
            "texts": {
                "name": self.texts.name,
                "chunks": len(self.texts.texts),
                "documents": len({each.document for each in self.texts.texts}),
                "gold": self.texts.labelled,
            },
            "types": list(self.settings.types),
            "runs": self.settings.runs,
            "seed": self.settings.seed,
            "prompts": [each.to_dict(self.settings.seed) for each in self.measures],
            "gains": {"over": first, "prompts": gains},
            "spent": self.spent.priced(),
        }


def measure_costs(
    prompts: Sequence[ExtractionPrompt], texts: TextSet, settings: MeasureSettings, asker: Asker
) -> dict[str, Amount]:
    """What each prompt's runs take at most; nothing is asked."""
    return {
        prompt.name: sum(
            (asker.most(each) for run in settings.requests(prompt, texts) for each in run),
            Amount(),
        )
        for prompt in prompts
    }


async def measured(
    prompt: ExtractionPrompt,
    texts: TextSet,
    settings: MeasureSettings,
    asker: Asker,
    price: Price,
    tell: Callable[[dict[str, Any]], None] = lambda event: None,
) -> PromptMeasure:
    """Ask a prompt for every text, and say what it is worth.

    Raises:
        BudgetSpent, LLMError: as `Asker.ask`.
    """
    runs: list[list[LLMAnswer]] = []
    for number, requests in enumerate(settings.requests(prompt, texts)):
        answers: list[LLMAnswer] = []
        for block in blocks(requests):
            answers += await asker.ask(block)
            done = {"done": len(answers), "of": len(requests), "run": number + 1}
            tell({"event": "answers", "prompt": prompt.name, **done})
        runs.append(answers)
    # Without gold, a prompt that has types of its own in it may use them.
    known = settings.types if texts.labelled or prompt.takes_types else ()
    return PromptMeasure.of(prompt.name, prompt.form, runs, texts, known, price)


def blocks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Rows in the parts that progress is told by."""
    for start in range(0, len(rows), _BLOCK):
        yield rows[start : start + _BLOCK]
