"""Evolution of instructions, with an LLM that crosses and mutates (EvoPrompt)."""

from __future__ import annotations

from cuecard.lazy import np
from cuecard.search.candidate import PromptCandidate
from cuecard.search.race import Racer
from cuecard.search.searcher import SearchState
from cuecard.search.searchers.writing import (
    instruction_of,
    reworded,
    with_instruction,
    written,
)

# How many of the best are parents.
_POPULATION = 10
_CROSS = (
    "Follow these steps.\n1. Cross these two instructions into a new one:\nInstruction 1: {a}\n"
    "Instruction 2: {b}\n2. Mutate the instruction of step 1, and write the result between "
    "<prompt> and </prompt>."
)
_DIFFERENCE = (
    "Follow these steps.\n1. Find the parts in which these two instructions differ:\n"
    "Instruction 1: {a}\nInstruction 2: {b}\n2. Mutate the parts that differ.\n3. Combine the "
    "mutated parts with this instruction, replacing parts of it:\nInstruction 3: {best}\n"
    "4. Cross the instruction of step 3 with this one, and write the result between <prompt> and "
    "</prompt>:\nInstruction 4: {own}"
)


class EvoPromptGA:
    """Parents drawn by their scores are crossed, and what comes of it is mutated.

    Guo et al. 2024, "Connecting Large Language Models with Evolutionary Algorithms", section 3.2.
    """

    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        """Children; in the first round the start in other words, so that there are parents."""
        pool = _pool(state)
        if len(pool) < 2:
            return await _rewritten(state, count)
        scores = np.asarray([racer.score for racer in pool])
        total = scores.sum()
        shares = scores / total if total > 0 else np.full(len(pool), 1 / len(pool))
        texts = []
        for _ in range(count):
            # Of few with scores above 0, some are drawn twice.
            twice = int((shares > 0).sum()) < 2
            a, b = state.rng.choice(len(pool), 2, replace=twice, p=shares)
            texts.append(_CROSS.format(a=_text(pool[a]), b=_text(pool[b])))
        return await _children(state, texts, count)


class EvoPromptDE:
    """The difference of two instructions, mutated, is put into the best one, and crossed.

    Guo et al. 2024, section 3.3. What replaces what is left to the race.
    """

    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        """A child for each of the best in turn."""
        pool = _pool(state)
        if len(pool) < 3:
            return await _rewritten(state, count)
        texts = []
        for number in range(count):
            own = pool[number % len(pool)]
            others = [racer for racer in pool if racer is not own]
            a, b = state.rng.choice(len(others), 2, replace=False)
            texts.append(
                _DIFFERENCE.format(
                    a=_text(others[a]), b=_text(others[b]), best=_text(pool[0]), own=_text(own)
                )
            )
        return await _children(state, texts, count)


def _pool(state: SearchState) -> list[Racer]:
    return [racer for racer in state.ranked if _text(racer)][:_POPULATION]


def _text(racer: Racer) -> str:
    return instruction_of(racer.candidate)


async def _rewritten(state: SearchState, count: int) -> list[PromptCandidate]:
    return _candidates(state, await reworded(state, count, state.round * count))


async def _children(state: SearchState, texts: list[str], count: int) -> list[PromptCandidate]:
    found = await written(state, texts, temperature=0.5, first_sample=state.round * count)
    return _candidates(state, found)


def _candidates(state: SearchState, texts: list[str]) -> list[PromptCandidate]:
    origin = f"generation {state.round + 1}"
    return [with_instruction(state.start, each, origin) for each in texts]
