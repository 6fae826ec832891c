"""Answers texts under a candidate's prompt, and says what the answers are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cuecard.errors import ConfigError
from cuecard.graphrag.answers import ReadAnswer
from cuecard.graphrag.described import described
from cuecard.graphrag.gold import GoldText, with_type_names
from cuecard.graphrag.measuring.prompts import ExtractionPrompt
from cuecard.graphrag.optimising.layout import PromptLayout
from cuecard.graphrag.optimising.objectives import OBJECTIVES, Objective
from cuecard.llms.protocol import LLMRequest
from cuecard.search.asker import Asker
from cuecard.search.budget import Amount
from cuecard.search.candidate import PromptCandidate
from cuecard.search.solver import Judged
from cuecard.types import Record


@dataclass(frozen=True)
class CandidatePrompts:
    """The prompts that candidates are.

    A candidate's instruction is the layout's; its words are other names for the types; its
    demonstrations are the examples, where it has some.

    Attributes:
        types: of entities, as gold has them.
        texts: what is known of texts, by text.
    """

    layout: PromptLayout
    types: tuple[str, ...]
    texts: Mapping[str, GoldText]

    def names(self, candidate: PromptCandidate) -> dict[str, str]:
        """type -> what the candidate calls it."""
        words = candidate.prompt.words or {}
        return {each: words.get(each, each) for each in self.types}

    def prompt(self, candidate: PromptCandidate) -> ExtractionPrompt:
        """The candidate as a prompt for GraphRAG, the types' names in place of their gap."""
        names = self.names(candidate)
        shown = [
            (record.text("text"), with_type_names(described(self._gold(record).extraction), names))
            for record in candidate.prompt.demonstrations
        ]
        called = list(names.values())
        template = self.layout.template(candidate.prompt.instruction, shown, called)
        found = replace(self.layout.prompt, name=candidate.origin, template=template)
        return found.with_types(called)

    def read(self, candidate: PromptCandidate, text: str) -> ReadAnswer:
        """An answer, with the types as gold has them."""
        names = self.names(candidate)
        found = self.layout.prompt.answers.read(text, list(names.values()))
        back = {name: kind for kind, name in names.items()}
        return replace(found, extraction=with_type_names(found.extraction, back))

    def worth(
        self, candidate: PromptCandidate, record: Record, text: str, objective: Objective
    ) -> float:
        """What an answer to a record is worth."""
        return OBJECTIVES[objective](self.read(candidate, text), self._gold(record))

    def _gold(self, record: Record) -> GoldText:
        return self.texts[record.text("text")]


class ExtractionSolver:
    """An LLM extracts, a text a call.

    Args:
        max_tokens: of an answer.
        prompt_tokens: that a prompt with its text may have; None for any number.
    """

    def __init__(
        self,
        asker: Asker,
        prompts: CandidatePrompts,
        objective: Objective,
        max_tokens: int,
        prompt_tokens: int | None = None,
    ) -> None:
        self._asker, self._prompts, self._objective = asker, prompts, objective
        self._max_tokens, self._prompt_tokens = max_tokens, prompt_tokens

    async def judge(self, candidate: PromptCandidate, records: Sequence[Record]) -> list[Judged]:
        """See `Solver.judge`."""
        answers = await self._asker.ask(self._requests(candidate, records))
        texts = [each.text for each in answers]
        return [
            Judged(text, self._prompts.worth(candidate, record, text, self._objective))
            for record, text in zip(records, texts, strict=True)
        ]

    def most(self, candidate: PromptCandidate, records: Sequence[Record]) -> Amount:
        """See `Solver.most`.

        Raises:
            ConfigError: a prompt that is too long.
        """
        return sum(map(self._asker.most, self._requests(candidate, records)), Amount())

    def _requests(self, candidate: PromptCandidate, records: Sequence[Record]) -> list[LLMRequest]:
        prompt = self._prompts.prompt(candidate)
        found = [prompt.request(each.text("text"), (), self._max_tokens) for each in records]
        if self._prompt_tokens is not None:
            longest = max(map(self._asker.llm.most_prompt_tokens, found), default=0)
            if longest > self._prompt_tokens:
                raise ConfigError(
                    "the prompt is too long",
                    where=candidate.origin or "the prompt",
                    got=f"{longest} tokens with its text",
                    expected=f"at most {self._prompt_tokens}",
                )
        return found
