"""Edits of an instruction: phrases deleted, swapped, put back (GrIPS)."""

from __future__ import annotations

import re

from cuecard.search.candidate import PromptCandidate
from cuecard.search.searcher import SearchState
from cuecard.search.searchers.writing import instruction_of, with_instruction

_PHRASE = re.compile(r"[^,;:.!?\n]+[,;:.!?\n]*\s*")
# A sentence without punctuation is cut into phrases of so many words.
_WORDS = 4


class GrIPS:
    """Edits phrases of the best instruction, and goes on from the best edit.

    Prasad et al. 2023, "GrIPS: Gradient-free, Edit-based Instruction Search", section 3. Phrases
    are found by punctuation and length where the paper has a parser, and are not paraphrased:
    `evoprompt-ga` does that.
    """

    def __init__(self) -> None:
        self._deleted: list[str] = []

    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        """Edits of the best instruction; none where it has less than two phrases to edit."""
        parts = phrases(instruction_of(state.best))
        if len(parts) + len(self._deleted) < 2:
            return []
        return [self._edited(state, parts) for _ in range(count)]

    def _edited(self, state: SearchState, parts: list[str]) -> PromptCandidate:
        kinds = ["delete", "swap"] if len(parts) > 1 else []
        kind = str(state.rng.choice([*kinds, *(["add"] if self._deleted else [])]))
        parts = list(parts)
        if kind == "delete":
            gone = parts.pop(int(state.rng.integers(len(parts))))
            self._deleted.append(gone)
        elif kind == "swap":
            a, b = state.rng.choice(len(parts), 2, replace=False)
            parts[a], parts[b] = parts[b], parts[a]
        else:
            back = self._deleted[int(state.rng.integers(len(self._deleted)))]
            parts.insert(int(state.rng.integers(len(parts) + 1)), back)
        text = " ".join(part.strip() for part in parts)
        return with_instruction(state.best, text, f"{kind}, round {state.round + 1}")


def phrases(text: str) -> list[str]:
    """A text in phrases, which together are all of it."""
    found = []
    for part in _PHRASE.findall(text):
        words = part.split()
        found += [" ".join(words[i : i + _WORDS]) for i in range(0, len(words), _WORDS)]
    return found
