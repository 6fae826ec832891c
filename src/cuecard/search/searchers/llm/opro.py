"""An LLM that sees past instructions with their scores, and writes better ones (OPRO)."""

from __future__ import annotations

from cuecard.search.candidate import PromptCandidate
from cuecard.search.searcher import SearchState
from cuecard.search.searchers.writing import instruction_of, shown, with_instruction, written

_PAST, _SHOWN = 20, 3
_META = (
    "Your task is to write an instruction for a model. Below are past instructions with their "
    "scores, from 0 to 100; higher is better.\n\n{past}\n\nThe model is given the instruction and "
    "an input, and is to write the output, as here:\n\n{pairs}\n\nWrite a new instruction that "
    "differs from all of the above and has a higher score. Write it between <prompt> and "
    "</prompt>."
)


class OPRO:
    """Yang et al. 2023, "Large Language Models as Optimizers", section 3 and appendix C."""

    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        """Samples for one meta-prompt."""
        # Ascending, so that the best stand nearest to what is asked for.
        past = [
            f"text: {instruction_of(racer.candidate) or '(none)'}\nscore: {100 * racer.score:.0f}"
            for racer in reversed(state.ranked[:_PAST])
        ]
        pairs = shown(state.spec, state.sample(_SHOWN))
        text = _META.format(past="\n\n".join(past), pairs=pairs)
        found = await written(
            state, [text] * count, temperature=1.0, first_sample=state.round * count
        )
        origin = f"opro, round {state.round + 1}"
        return [with_instruction(state.start, each, origin) for each in found]
