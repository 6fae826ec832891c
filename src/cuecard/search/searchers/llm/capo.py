"""Evolution of instructions together with their demonstrations, at a price for length (CAPO)."""

from __future__ import annotations

from dataclasses import dataclass

from cuecard.search.candidate import PromptCandidate
from cuecard.search.race import Racer
from cuecard.search.searcher import SearchState
from cuecard.search.searchers.demonstrations import drawn, with_shown
from cuecard.search.searchers.writing import (
    instruction_in,
    instruction_of,
    replies,
    reworded,
    usable,
    with_instruction,
)
from cuecard.types import Record

# Of the paper: parents, demonstrations at most, and what the longest prompt is charged.
_POPULATION, _SHOWN, _PENALTY = 10, 5, 0.05
_CROSS = (
    "Merge these two instructions for the same task into one that keeps what is important in "
    "both. Write it between <prompt> and </prompt>.\n\nInstruction 1: {a}\n\nInstruction 2: {b}"
)
_MUTATE = (
    "Rephrase this instruction: keep its meaning, and change its style and its words a lot. Write "
    "it between <prompt> and </prompt>.\n\nInstruction: {text}"
)


@dataclass(frozen=True)
class _Child:
    """What comes of two parents, before it is written."""

    parents: tuple[str, str]
    shown: tuple[Record, ...]


class CAPO:
    """Crosses and mutates instructions by an LLM, demonstrations by chance.

    Zehle et al. 2025, "CAPO: Cost-Aware Prompt Optimization" (arXiv:2504.16005), section 3. Its
    race is that of every search here. Its charge for length decides which candidates are parents;
    a race and the last choice go by the score alone, and of equals take the shorter one.
    Demonstrations are records as they are, without a model's reasoning.
    """

    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        """Children; in the first round the start in other words, with demonstrations."""
        if state.round == 0:
            return await self._first(state, count)
        pool = population(state)
        children = [_crossed(state, pool) for _ in range(count)]
        texts = [_CROSS.format(a=each.parents[0], b=each.parents[1]) for each in children]
        crossed = await _asked(state, texts, count)
        alive = [(text, each) for text, each in zip(crossed, children, strict=True) if text]
        mutated = await _asked(state, [_MUTATE.format(text=text) for text, _ in alive], count)
        return [
            _candidate(state, text, _mutated(state, each.shown))
            for text, (_, each) in zip(mutated, alive, strict=True)
            if text
        ]

    async def _first(self, state: SearchState, count: int) -> list[PromptCandidate]:
        texts = [instruction_of(state.start), *await reworded(state, count - 1, 0)]
        shown = [drawn(state, int(state.rng.integers(_SHOWN + 1))) for _ in texts]
        return [
            _candidate(state, text, records) for text, records in zip(texts, shown, strict=True)
        ]


def population(state: SearchState) -> list[Racer]:
    """The best candidates by score less what their length is charged, best first.

    Those that ran a race to its end come before those that dropped out, since fewer rows say less.
    """
    longest = max(1, *(racer.candidate.length for racer in state.ranked))

    def rank(racer: Racer) -> tuple[int, float]:
        charged = _PENALTY * racer.candidate.length / longest
        return len(racer.answers), racer.score - charged

    return sorted(state.ranked, key=rank, reverse=True)[:_POPULATION]


def _crossed(state: SearchState, pool: list[Racer]) -> _Child:
    """Two parents, and as many of their demonstrations as they have on average."""
    a, b = state.rng.choice(len(pool), 2, replace=len(pool) < 2)
    parents = [pool[int(number)].candidate for number in (a, b)]
    both = [record for each in parents for record in each.prompt.demonstrations]
    union = list({repr(sorted(record.texts.items())): record for record in both}.values())
    order = state.rng.permutation(len(union))[: len(both) // 2]
    texts = [instruction_of(each) or "(none)" for each in parents]
    return _Child((texts[0], texts[1]), tuple(union[int(number)] for number in order))


def _mutated(state: SearchState, shown: tuple[Record, ...]) -> tuple[Record, ...]:
    """One more, one less, or as many; in another order."""
    change = int(state.rng.integers(-1, 2))
    records = list(shown)
    if change < 0 and records:
        records.pop(int(state.rng.integers(len(records))))
    elif change > 0 and len(records) < _SHOWN:
        there = {id(record) for record in records}
        records += [one for one in drawn(state, len(records) + 1) if id(one) not in there][:1]
    return tuple(records[int(number)] for number in state.rng.permutation(len(records)))


async def _asked(state: SearchState, texts: list[str], count: int) -> list[str]:
    """An instruction for each text; "" where there is none."""
    found = await replies(state, texts, temperature=1.0, first_sample=state.round * count)
    return usable(state, map(instruction_in, found), found)


def _candidate(state: SearchState, text: str, shown: tuple[Record, ...]) -> PromptCandidate:
    origin = f"capo, round {state.round + 1}"
    return with_shown(with_instruction(state.start, text, origin), shown, origin)
