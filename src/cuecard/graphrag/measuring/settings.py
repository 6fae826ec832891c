"""How prompts are measured."""

from __future__ import annotations

from dataclasses import dataclass

from cuecard.graphrag.gold import TextSet
from cuecard.graphrag.measuring.prompts import ExtractionPrompt
from cuecard.llms.protocol import LLMRequest


@dataclass(frozen=True, slots=True)
class MeasureSettings:
    """How prompts are measured.

    Attributes:
        types: of entities that are asked for.
        runs: over every text: the first at temperature 0, which is scored; others, which are
            compared with it, at `temperature`.
        max_tokens: of an answer.
        seed: of intervals.
    """

    types: tuple[str, ...]
    runs: int = 1
    temperature: float = 0.7
    max_tokens: int = 1500
    seed: int = 0

    def requests(self, prompt: ExtractionPrompt, texts: TextSet) -> list[list[LLMRequest]]:
        """What a prompt asks: for each run, for each text."""
        return [
            [
                prompt.request(
                    text.text, self.types, self.max_tokens, self.temperature if run else 0.0, run
                )
                for text in texts.texts
            ]
            for run in range(self.runs)
        ]
