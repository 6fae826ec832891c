"""Instructions that an LLM finds for given inputs and outputs, and variations of the best (APE)."""

from __future__ import annotations

from cuecard.search.candidate import Candidate
from cuecard.search.searcher import View
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

    async def propose(self, view: View, count: int) -> list[Candidate]:
        """Guesses in the first round, variations of the best ones afterwards."""
        if view.round == 0:
            texts = []
            for _ in range(count):
                chosen = view.rng.permutation(len(view.train))[:_SHOWN]
                pairs = shown(view.spec, [view.train[int(number)] for number in chosen])
                texts.append(_INDUCE.format(pairs=pairs))
        else:
            best = [racer.candidate for racer in view.ranked if instruction_of(racer.candidate)]
            best = best[: max(1, count // 2)]
            if not best:
                return []
            texts = [
                _VARY.format(text=instruction_of(best[number % len(best)]))
                for number in range(count)
            ]
        found = await written(view.asker, texts, temperature=1.0, first_sample=view.round * count)
        what = "variation" if view.round else "guess"
        return [
            with_instruction(view.start, text, f"{what}, round {view.round + 1}") for text in found
        ]
