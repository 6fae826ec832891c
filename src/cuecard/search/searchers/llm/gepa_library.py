"""GEPA as its authors' library has it, behind this search's loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from cuecard.lazy import lazy_module
from cuecard.search.candidate import PromptCandidate
from cuecard.search.searcher import SearchState
from cuecard.search.searchers.writing import (
    asked_and_right,
    instruction_in,
    instruction_of,
    replies,
    usable,
    with_instruction,
)
from cuecard.search.solver import Judged, fits
from cuecard.tasks import TaskSpec
from cuecard.types import Record

gepa = lazy_module("gepa")
adapters = lazy_module("gepa.core.adapter")

# What it calls a prompt's only part.
_PART = "instruction"
# Tokens of what an LLM writes: the new instruction alone is asked for, and it may be a long one.
_TOKENS = 600
# Characters of an instruction: as many as these tokens may have.
_LONGEST = 6 * _TOKENS


class GEPALibrary:
    """The optimiser of the package `gepa`, with its settings as they come.

    Agrawal et al. 2025, "GEPA: Reflective Prompt Evolution Can Outperform Reinforcement Learning"
    (arXiv:2507.19457). It chooses parents and rows, writes the requests and keeps its own Pareto
    front, on rows that nobody races on. A round is an iteration of it for each candidate asked
    for; those that it took into its pool race.

    It answers to nobody until it ends. So each round runs it from its beginning, in a thread, by
    one seed: it hears again what it was answered before, and goes on from there. All that it asks
    is asked in the search's event loop, within the budget and the journal.
    """

    def __init__(self) -> None:
        self._run: _Run | None = None
        self._answers: list[Any] = []
        self._iterations = 0
        self._known = 1  # the start

    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        """What its next iterations took into its pool."""
        if self._run is None:
            self._run = _Run.of(state)
        self._iterations += count
        models = _Models(state, self._answers)
        try:
            pool = await asyncio.to_thread(self._run.pool, models, self._iterations)
        except _Ended:
            assert models.error is not None
            raise models.error from None
        finally:
            models.ended = True
        new, self._known = pool[self._known :], len(pool)
        state.tell({"event": "reflection", "written": models.written, "passed": len(new)})
        origin = f"gepa's library, round {state.round + 1}"
        read = [text for text in new if instruction_in(text, longest=_LONGEST)]
        return [with_instruction(state.start, text, origin) for text in read]


@dataclass(frozen=True)
class _Run:
    """What it begins with, every time.

    Attributes:
        read: rows whose answers an LLM reads.
        front: rows that the Pareto front is of.
    """

    spec: TaskSpec
    instruction: str
    read: Sequence[Record]
    front: Sequence[Record]
    seed: int

    @classmethod
    def of(cls, state: SearchState) -> _Run:
        """Of a search's first round."""
        rows = state.sample(len(state.train))
        front = min(state.settings.block, len(rows) // 2)
        text = instruction_of(state.start)
        return cls(state.spec, text, rows[front:], rows[:front], state.settings.seed)

    def pool(self, models: _Models, iterations: int) -> list[str]:
        """The instructions in its pool after so many iterations, in their order."""
        found = gepa.optimize(
            {_PART: self.instruction},
            trainset=[*self.read],
            valset=[*self.front],
            adapter=_Adapter(self.spec, models),
            reflection_lm=models.written_by_llm,
            stop_callbacks=lambda state: state.i + 1 >= iterations,
            logger=_Silent(),
            seed=self.seed,
        )
        return [each[_PART] for each in found.candidates]


class _Ended(BaseException):
    """Ends it where it asks; it goes on after any `Exception` of the LLM that writes."""


class _Models:
    """The search's models, as they are asked from another thread.

    Args:
        answers: what was answered before, to which more is added.

    Attributes:
        written: how many instructions were asked for that were not before.
        error: why the search cannot answer.
        ended: whether nobody waits for it any more.
    """

    def __init__(self, state: SearchState, answers: list[Any]) -> None:
        self._state, self._answers, self._place = state, answers, 0
        self._loop = asyncio.get_running_loop()
        self._writes = 0
        self.written = 0
        self.error: BaseException | None = None
        self.ended = False

    def judged(self, text: str, rows: Sequence[Record]) -> list[Judged]:
        """What is answered under an instruction; nothing where that leaves no room for a row."""
        found: list[Judged] = self._asked(partial(self._judge, text, rows))
        return found

    def written_by_llm(self, text: str) -> str:
        """What the LLM writes; another time something else."""
        self._writes += 1
        found: list[str] = self._asked(partial(self._write, text, self._writes))
        return found[0]

    async def _judge(self, text: str, rows: Sequence[Record]) -> list[Judged]:
        solver, candidate = self._state.solver, with_instruction(self._state.start, text, _PART)
        if not fits(solver, candidate, rows):
            return [Judged("", 0.0) for _ in rows]
        return await solver.judge(candidate, rows)

    async def _write(self, text: str, number: int) -> list[str]:
        self.written += 1
        found = await replies(
            self._state, [text], temperature=1.0, first_sample=number, tokens=_TOKENS
        )
        usable(self._state, [instruction_in(each, longest=_LONGEST) for each in found], found)
        return found

    def _asked(self, ask: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """An answer from the event loop, while this thread waits."""
        if self._place == len(self._answers):
            if self.ended:
                raise _Ended
            try:
                found = asyncio.run_coroutine_threadsafe(ask(), self._loop).result()
            except BaseException as error:
                self.error = error
                raise _Ended from error
            self._answers.append(found)
        self._place += 1
        return self._answers[self._place - 1]


class _Adapter:
    """What it knows of the task."""

    propose_new_texts = None

    def __init__(self, spec: TaskSpec, models: _Models) -> None:
        self._spec, self._models = spec, models

    def evaluate(
        self, batch: Sequence[Record], candidate: Mapping[str, str], capture_traces: bool = False
    ) -> Any:
        """Answers and scores of rows."""
        found = self._models.judged(candidate[_PART], batch)
        return adapters.EvaluationBatch(
            outputs=[each.answer for each in found],
            scores=[each.score for each in found],
            trajectories=[*zip(batch, found, strict=True)] if capture_traces else None,
        )

    def make_reflective_dataset(
        self, candidate: Mapping[str, str], eval_batch: Any, components_to_update: Sequence[str]
    ) -> dict[str, list[dict[str, str]]]:
        """What the LLM reads."""
        told = [self._told(record, judged) for record, judged in eval_batch.trajectories]
        return dict.fromkeys(components_to_update, told)

    def _told(self, record: Record, judged: Judged) -> dict[str, str]:
        asked, right = asked_and_right(self._spec, record)
        feedback = "The output is right."
        if judged.score < 1:
            feedback = f"The output scores {judged.score:.2g} of 1. The right output is: {right}"
        return {"Inputs": asked, "Generated Outputs": judged.answer, "Feedback": feedback}


class _Silent:
    """Its log goes nowhere: the search tells what happens."""

    def log(self, message: str) -> None:
        """Drop it."""
