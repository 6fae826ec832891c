"""What the prompts of a search are worth on its test rows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cuecard.errors import ConfigError
from cuecard.evaluation.evaluate import Evaluation, evaluate, scored_too
from cuecard.search.budget import USUAL, BudgetSpent
from cuecard.search.candidate import PromptCandidate
from cuecard.search.scorer import Scorer
from cuecard.search.solver import LLMSolver
from cuecard.tasks import Task
from cuecard.types import Backbone, Prediction, Record, value_text


async def tested_by_backbone(
    backbone: Backbone, candidate: PromptCandidate, task: Task, scorer: Scorer
) -> Evaluation:
    """A prompt on the test rows, also by what candidates were scored by.

    Raises:
        ConfigError: the budget of a judge is spent.
    """
    spec = candidate.to_spec(task.spec, backbone.tokenizer, backbone.max_positions)
    soft = None if candidate.soft is None else candidate.soft.injection
    found = evaluate(
        backbone, spec, task.test, soft, prior=candidate.prior, on_rows=_end_if_cancelled
    )
    if scorer.name in found.vectors:
        return found
    answers = [each.answer for each in found.predictions]
    try:
        return scored_too(found, scorer.name, await scorer.scores(task.test, answers))
    except BudgetSpent as error:
        raise _scores_unpaid(error, len(task.test)) from error


def _end_if_cancelled(rows: int) -> None:
    """Ctrl-C cancels the task that this runs in, which never waits while it evaluates."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def tested_by_llm(
    solver: LLMSolver, scorer: Scorer, candidate: PromptCandidate, records: Sequence[Record]
) -> Evaluation | None:
    """What an LLM's answers to test rows are worth, by what candidates were scored by.

    None without rows, and where the budget does not pay for it.

    Raises:
        LLMError, DataError: as `Solver.judge`.
    """
    if not records:
        return None
    try:
        found = await solver.judge(candidate, records)
    except BudgetSpent as error:
        if error.flag == USUAL:
            return None
        raise _scores_unpaid(error, len(records)) from error
    predictions = [Prediction(number, one.answer, {}, {}) for number, one in enumerate(found)]
    bare = Evaluation(
        primary=scorer.name,
        metrics={},
        ci95={},
        vectors={},
        records=tuple(records),
        predictions=tuple(predictions),
        seconds=0.0,
        tokens_per_request=0,
        gold=tuple(value_text(record.target or "") for record in records),
    )
    return scored_too(bare, scorer.name, [each.score for each in found])


def _scores_unpaid(error: BudgetSpent, rows: int) -> ConfigError:
    """The error of a judge whose budget is spent before the test."""
    return ConfigError(
        "the budget does not last for the scores of the test rows",
        where=error.flag,
        got=str(error),
        expected=f"enough for {rows} more answers, twice",
        hint="all that was answered is kept: the same command with a larger budget goes on",
    )
