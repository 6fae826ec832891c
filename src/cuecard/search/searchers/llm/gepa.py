"""An LLM that reads what a prompt gets wrong, and writes a better one (as in GEPA)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cuecard.lazy import lazy_module, np
from cuecard.search.candidate import PromptCandidate
from cuecard.search.race import Racer
from cuecard.search.searcher import SearchState
from cuecard.search.searchers.writing import (
    asked_and_right,
    instruction_in,
    instruction_of,
    replies,
    usable,
    with_instruction,
)
from cuecard.search.solver import Judged, fits, plain_words
from cuecard.types import Record

stats = lazy_module("scipy.stats")

# Rows on which failures are looked for, failures that are shown, and other rows for the test.
_READ, _FAILURES, _TEST = 16, 4, 30
# How often a change that does nothing passes the test, at most.
_LEVEL = 0.2
# Below so many rows nothing would pass it, and the race alone decides.
_LEAST_TEST = 5
# Draws of rows in a round, while nothing passes.
_DRAWS = 3
_LONGEST, _TOKENS = 1000, 400
_COPIED, _SHORT = 8, 4
_REFLECT = (
    "A model was given this instruction:\n\n{instruction}\n\nIt answered these inputs wrongly:\n\n"
    "{failures}\n\nFirst say in two or three sentences why: what does the instruction not say, or "
    "say wrongly? Then write a better instruction, for inputs of this kind in general: it must not "
    "repeat these inputs. Write it between <prompt> and </prompt>."
)


@dataclass(frozen=True)
class _Failure:
    """A record, and what was answered instead of its target."""

    record: Record
    answer: str


class GEPA:
    """Reflects on failures of prompts on the Pareto front.

    Agrawal et al. 2025, "GEPA: Reflective Prompt Evolution Can Outperform Reinforcement Learning"
    (arXiv:2507.19457), section 3: a parent is drawn from those that are best on some row, an LLM
    reads its failures on rows that no candidate races on, and what it writes must do better on a
    minibatch. Here this minibatch is of rows that the LLM has not read, and doing better is a sign
    test, which a change that does nothing passes one time in five at most (on three rows, as in
    the paper, at an accuracy of one half one time in three). A prompt has one instruction, so that
    there is nothing to merge.
    """

    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        """Instructions that passed the test."""
        found: list[PromptCandidate] = []
        front = pareto_front(state.ranked)
        shares = np.asarray([share for _, share in front])
        for draw in range(_DRAWS):
            rows = state.sample(len(state.train))
            read = rows[: min(_READ, len(rows) // 2)]
            test = rows[len(read) : len(read) + _TEST]
            chosen = state.rng.choice(len(front), count, p=shares / shares.sum())
            parents = [front[int(number)][0].candidate for number in chosen]
            first_sample = (state.round * _DRAWS + draw) * count
            children = await _written(state, parents, read, first_sample)
            passed = [
                child for parent, child in children if await _passes(state, parent, child, test)
            ]
            if children:
                told = {"event": "reflection", "written": len(children), "passed": len(passed)}
                state.tell(told)
            found += passed
            if found:
                break
        return found


async def _written(
    state: SearchState,
    parents: Sequence[PromptCandidate],
    rows: Sequence[Record],
    first_sample: int,
) -> list[tuple[PromptCandidate, PromptCandidate]]:
    """Parents that fail on some of the rows, each with a child."""
    failing, texts = [], []
    for parent in parents:
        if failures := await _failures(state, parent, rows):
            failing.append(parent)
            text = instruction_of(parent) or "(none)"
            told = "\n\n".join(_told(state, each) for each in failures)
            texts.append(_REFLECT.format(instruction=text, failures=told))
    answers = await replies(
        state, texts, temperature=1.0, first_sample=first_sample, tokens=_TOKENS
    )
    read = (instruction_in(each, longest=_LONGEST, tagged=True) for each in answers)
    found = usable(state, read, answers)
    origin = f"gepa, round {state.round + 1}"
    return [
        (parent, with_instruction(parent, text, origin))
        for parent, text in zip(failing, found, strict=True)
        if text and not copies(text, rows)
    ]


async def _failures(
    state: SearchState, parent: PromptCandidate, rows: Sequence[Record]
) -> list[_Failure]:
    """Some of the rows that a prompt does not answer fully; other ones each time."""
    answers = await state.solver.judge(parent, rows)
    wrong = [number for number, each in enumerate(answers) if each.score < 1]
    chosen = state.rng.permutation(len(wrong))[:_FAILURES]
    numbers = [wrong[int(number)] for number in chosen]
    return [_Failure(rows[number], answers[number].answer) for number in numbers]


def _told(state: SearchState, failure: _Failure) -> str:
    asked, right = asked_and_right(state.spec, failure.record)
    answer = failure.answer.strip() or "(nothing)"
    return f"Input: {asked}\nThe model's output: {answer}\nThe right output: {right}"


async def _passes(
    state: SearchState, parent: PromptCandidate, child: PromptCandidate, rows: Sequence[Record]
) -> bool:
    if not fits(state.solver, child, rows[:1]):
        return False
    if len(rows) < _LEAST_TEST:
        return True
    before = await state.solver.judge(parent, rows)
    return is_better(await state.solver.judge(child, rows), before)


def is_better(after: Sequence[Judged], before: Sequence[Judged], level: float = _LEVEL) -> bool:
    """Whether a one-sided sign test says that the one is better than the other on the same rows.

    With no difference between them it says so with a probability of `level` at most.
    """
    pairs = list(zip(after, before, strict=True))
    wins = sum(a.score > b.score for a, b in pairs)
    losses = sum(a.score < b.score for a, b in pairs)
    if wins <= losses:
        return False
    return bool(stats.binomtest(wins, wins + losses, alternative="greater").pvalue <= level)


def pareto_front(ranked: Sequence[Racer]) -> list[tuple[Racer, int]]:
    """Candidates that are best on some row, with the number of rows on which they are.

    Of those that ran a race to its end. As in the paper's algorithm 2, one that is best only where
    better ones are best as well is left out.
    """
    most = max(len(racer.answers) for racer in ranked)
    racers = [racer for racer in ranked if len(racer.answers) == most]
    scores = np.asarray([[each.score for each in racer.answers] for racer in racers])
    best = (scores == scores.max(axis=0)) & (scores > 0)
    left = np.ones(len(racers), dtype=bool)
    for number in sorted(range(len(racers)), key=lambda n: racers[n].score):
        others = left.copy()
        others[number] = False
        if others.any() and best[others][:, best[number]].any(axis=0).all():
            left[number] = False
    return [(racers[n], max(1, int(best[n].sum()))) for n in np.flatnonzero(left)]


def copies(text: str, records: Sequence[Record]) -> bool:
    """Whether a text repeats a record: eight words in a row, or all of a shorter one."""
    plain = f" {plain_words(text)} "
    for record in records:
        for value in record.texts.values():
            words = plain_words(value).split()
            size = min(_COPIED, len(words))
            runs = (" ".join(words[i : i + size]) for i in range(len(words) - size + 1))
            if size >= _SHORT and any(f" {run} " in plain for run in runs):
                return True
    return False
