"""Which instruction goes with which demonstrations, by a Parzen estimator (MIPRO)."""

from __future__ import annotations

from collections.abc import Mapping

from cuecard.search.candidate import PromptCandidate
from cuecard.search.searcher import SearchState
from cuecard.search.searchers.demonstrations import drawn, with_shown
from cuecard.search.searchers.writing import (
    instruction_of,
    replies,
    shown,
    with_instruction,
    written,
)
from cuecard.training.storage.checkpoint import State
from cuecard.training.sweeps.proposals import Seen, propose
from cuecard.types import Record

# Records that the LLM sees of the data, and beside each request.
_DATA, _PAIRS = 10, 3
# Demonstrations of a set at most.
_SHOWN = 6
_SUMMARY = (
    "These are records of a data set.\n\n{pairs}\n\nSay in two or three sentences what kind of "
    "inputs these are, what is asked of them, and what is difficult about it."
)
_WRITE = (
    "A data set: {summary}\n\nSome of its records:\n\n{pairs}\n\nThe instruction so far: {text}"
    "\n\nWrite an instruction by which a model gives the right output to such inputs. {tip} Write "
    "it between <prompt> and </prompt>."
)
# Each request has one of these, so that instructions differ (section 3.2 of the paper).
_TIPS = (
    "Be clear and short.",
    "Be creative.",
    "Describe every detail that matters.",
    "Say who the model is to be: a persona who knows the task well.",
    "Say that much depends on a right answer.",
    "Say what is easily confused.",
)
_INSTRUCTION, _DEMONSTRATIONS = "instruction", "demonstrations"


class MIPRO:
    """Instructions by an LLM that sees the data, sets of demonstrations by chance; then which go
    together, by a tree-structured Parzen estimator over the scores of pairs.

    Opsahl-Ong et al. 2024, "Optimizing Instructions and Demonstrations for Multi-Stage Language
    Model Programs" (arXiv:2406.11695), section 4. A race stands in for its minibatches, and
    demonstrations are records as they are, since there is one stage and its output is known.

    The estimator is built from what is known each time it is asked, with a seed that is the
    search's and the number of pairs, so that a search that was stopped goes on as it would have.
    """

    def __init__(self) -> None:
        self._base: PromptCandidate | None = None
        self._texts: list[str] = []
        self._sets: list[tuple[Record, ...]] = []
        self._seed = 0
        self._asked: dict[str, dict[str, int]] = {}

    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        """Pairs of an instruction and demonstrations that were not tried yet."""
        if self._base is None:
            self._texts, self._sets = await _instructions(state, count), _sets(state, count)
            self._base, self._seed = state.start, int(state.rng.integers(2**31))
        axes = {
            _INSTRUCTION: tuple(range(len(self._texts))),
            _DEMONSTRATIONS: tuple(range(len(self._sets))),
        }
        scores = {racer.candidate.key: racer.score for racer in state.ranked}
        seen = [_seen(pair, scores.get(key)) for key, pair in self._asked.items()]
        found: list[PromptCandidate] = []
        most = len(self._texts) * len(self._sets)
        tries = 0
        while len(found) < count and len(self._asked) < most and tries < most:
            tries += 1
            pair = propose(axes, seen, total=4 * count, seed=self._seed)
            seen.append(Seen(pair, State()))  # under way, so that the next one differs
            candidate = self._candidate(self._base, pair, state.round)
            if candidate.key not in self._asked:
                self._asked[candidate.key] = pair
                found += [] if candidate.key in scores else [candidate]
        return found

    def _candidate(
        self, base: PromptCandidate, pair: Mapping[str, int], number: int
    ) -> PromptCandidate:
        text, records = self._texts[pair[_INSTRUCTION]], self._sets[pair[_DEMONSTRATIONS]]
        origin = f"instruction {pair[_INSTRUCTION] + 1} with {len(records)} demonstrations, "
        origin += f"mipro, round {number + 1}"
        return with_shown(with_instruction(base, text, origin), records, origin)


def _seen(pair: dict[str, int], score: float | None) -> Seen:
    """A pair with its score; one without room for a record has none."""
    if score is None:
        return Seen(pair, State(ended="diverged"))
    return Seen(pair, State(validations=[(0, 1 - score)], ended="steps"))


async def _instructions(state: SearchState, count: int) -> list[str]:
    """The start's, and those of the LLM, each once."""
    asked = _SUMMARY.format(pairs=shown(state.spec, state.sample(_DATA)))
    (summary,) = await replies(state, [asked], temperature=0.7, first_sample=0)
    own = instruction_of(state.start)
    texts = [
        _WRITE.format(
            summary=" ".join(summary.split()),
            pairs=shown(state.spec, state.sample(_PAIRS)),
            text=own or "(none)",
            tip=_TIPS[number % len(_TIPS)],
        )
        for number in range(count)
    ]
    found = await written(state, texts, temperature=1.0, first_sample=0)
    return list(dict.fromkeys([own, *found]))


def _sets(state: SearchState, count: int) -> list[tuple[Record, ...]]:
    """None, the start's, and sets of growing size."""
    own = state.start.prompt.demonstrations
    return [(), *([own] if own else []), *(drawn(state, 1 + n % _SHOWN) for n in range(count))]
