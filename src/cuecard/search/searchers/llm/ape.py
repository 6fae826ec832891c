"""Instructions that an LLM finds for given inputs and outputs, and variations of the best (APE)."""

from __future__ import annotations

from cuecard.search.candidate import PromptCandidate
from cuecard.search.searcher import SearchState
from cuecard.search.searchers.writing import instruction_of, shown, with_instruction, written

_SHOWN = 6
_INDUCE = (
    "A friend was given an instruction and some inputs, and wrote the outputs that the "
    "instruction asks for.\n\n{pairs}\n\nWhat was the instruction? Write the instruction alone."
)
_VARY = (
    "Write a variation of this instruction that keeps its meaning. Write the instruction "
    "alone.\n\nInstruction: {text}"
)


class APE:
    """Zhou et al. 2023, "Large Language Models are Human-Level Prompt Engineers", section 3."""

    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        """Guesses in the first round, variations of the best ones afterwards."""
        if state.round == 0:
            texts = [
                _INDUCE.format(pairs=shown(state.spec, state.sample(_SHOWN))) for _ in range(count)
            ]
        else:
            best = [racer.candidate for racer in state.ranked if instruction_of(racer.candidate)]
            best = best[: max(1, count // 2)]
            if not best:
                return []
            texts = [
                _VARY.format(text=instruction_of(best[number % len(best)]))
                for number in range(count)
            ]
        found = await written(state, texts, temperature=1.0, first_sample=state.round * count)
        what = "variation" if state.round else "guess"
        return [
            with_instruction(state.start, text, f"{what}, round {state.round + 1}")
            for text in found
        ]
