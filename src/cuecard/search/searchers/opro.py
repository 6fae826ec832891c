"""An LLM that sees past instructions with their scores, and writes better ones (OPRO)."""

from __future__ import annotations

from cuecard.search.candidate import Candidate
from cuecard.search.searcher import View
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

    async def propose(self, view: View, count: int) -> list[Candidate]:
        """Samples for one meta-prompt."""
        # Ascending, so that the best stand nearest to what is asked for.
        past = [
            f"text: {instruction_of(racer.candidate) or '(none)'}\nscore: {100 * racer.score:.0f}"
            for racer in reversed(view.ranked[:_PAST])
        ]
        chosen = view.rng.permutation(len(view.train))[:_SHOWN]
        pairs = shown(view.spec, [view.train[int(number)] for number in chosen])
        text = _META.format(past="\n\n".join(past), pairs=pairs)
        found = await written(
            view.asker, [text] * count, temperature=1.0, first_sample=view.round * count
        )
        origin = f"opro, round {view.round + 1}"
        return [with_instruction(view.start, each, origin) for each in found]
