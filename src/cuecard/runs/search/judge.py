"""The LLM that judges a search's answers: opened, checked against people, reported."""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cuecard.errors import ConfigError, DataError, DataWarning
from cuecard.llms.protocol import LLM
from cuecard.runs.llms import ChosenLLM
from cuecard.runs.search.recipe import JUDGE, JudgeRecipe, SearchRecipe
from cuecard.search.asker import Asker
from cuecard.search.budget import SearchBudget
from cuecard.search.calls import Calls
from cuecard.search.candidate import digest
from cuecard.search.journal import Journal
from cuecard.search.judge import FLAG, JudgeAgreement, JudgeScorer
from cuecard.search.race import raced_rows
from cuecard.tasks import Task
from cuecard.tasks.readers.records import read_records
from cuecard.training.storage.log import Observer
from cuecard.types import Record

FILE = "judge.jsonl"
_LEAST_ROWS = 10
# Answers without a rating among those that people rated, as a share.
_UNREADABLE = 0.2


@dataclass(frozen=True)
class RatedAnswer:
    """An answer that people rated."""

    record: Record
    answer: str
    rating: float


@dataclass(frozen=True)
class Judge:
    """A judge at work.

    Attributes:
        agreement: with people; None where nobody rated.
    """

    scorer: JudgeScorer
    agreement: JudgeAgreement | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it."""
        return {
            "agreement": None if self.agreement is None else asdict(self.agreement),
            "unreadable": self.scorer.unreadable,
            "spent": self.scorer.spent.priced(),
        }


def judge_line(judge: Judge) -> str:
    """What it took, and how well it agrees with people, in a line."""
    agreement = judge.agreement
    told = [
        f"judge: {judge.scorer.spent.text}",
        "not compared with people"
        if agreement is None
        else f"Spearman {agreement.spearman:.2f} with people's ratings of {agreement.rows} answers",
    ]
    if judge.scorer.unreadable:
        told.append(f"{judge.scorer.unreadable} answers without a rating, which count 0")
    return "; ".join(told)


def check_judge(plan: SearchRecipe, task: Task) -> list[RatedAnswer]:
    """Refuse a judge that is not there or not needed; the answers that people rated.

    Raises:
        ConfigError: one of these, or a task without generated texts.
        DataError: ratings that cannot be read.
    """
    asked = plan.score is not None and plan.score.startswith(JUDGE)
    if asked is not (plan.judge is not None):
        raise ConfigError(
            "no LLM was named to judge the answers"
            if asked
            else "no judge is asked for by the score",
            where="--score" if asked else "--judge-llm",
            got=plan.score,
            expected="--judge-llm MODEL beside it" if asked else f"--score {JUDGE}",
        )
    if asked and task.spec.mode != "text":
        raise ConfigError(
            "only generated texts are judged",
            where="--score",
            got=f"{plan.score} for kind {task.spec.kind}",
            expected="a task of kind text-to-text; labels are right or wrong",
        )
    return [] if plan.judge is None else _rated(plan, plan.judge, task)


async def open_judge(
    plan: SearchRecipe,
    settings: JudgeRecipe,
    task: Task,
    chosen: ChosenLLM,
    llm: LLM,
    calls: Calls,
    folder: Path,
    rated: list[RatedAnswer],
    tell: Observer,
) -> Judge:
    """A judge with a budget and a journal of its own, after it was compared with people.

    Args:
        calls: of the search.
        rated: answers that people rated.

    Raises:
        ConfigError: one that rates otherwise than people do, or too small a budget.
        LLMError: it does not answer.
    """
    assert plan.score is not None  # see check_judge
    about = {
        "judge": chosen.identity,
        "score": plan.score,
        "data": task.report.data_hash,
        "fields": task.spec.field_names,
    }
    budget = SearchBudget.parse(settings.budget, FLAG)
    own = Calls(Journal(folder / FILE, digest(about)), budget)
    scorer = JudgeScorer(
        Asker(llm, own, chosen.price),
        own.ledger,
        task.spec,
        plan.score,
        saving=lambda: calls.saving,
    )
    most = scorer.most(task.validation)
    scorer.kept = most * plan.search.finalists + scorer.most(task.test) * 2
    raced = raced_rows(task.train, plan.search)
    limit = budget.allows(most + scorer.kept + scorer.most(raced))
    if limit is not None:
        least = len(task.validation) * (1 + plan.search.finalists) + 2 * len(task.test)
        raise ConfigError(
            "the judge's budget is too small",
            where=FLAG,
            got=f"too few {limit}: {settings.budget}",
            expected=f"enough to rate {least + len(raced)} answers, and then those of candidates",
        )
    agreement = await _compared(scorer, settings, rated)
    event = {} if agreement is None else asdict(agreement)
    tell({"event": "judge", "name": plan.score, **event})
    return Judge(scorer, agreement)


async def _compared(
    scorer: JudgeScorer, settings: JudgeRecipe, rated: list[RatedAnswer]
) -> JudgeAgreement | None:
    """How alike it and people rate; refused where that is not enough."""
    if not rated:
        text = (
            "nobody has checked what this judge's ratings are worth: --judge-labels FILE compares "
            "them with people's"
        )
        warnings.warn(DataWarning(text), stacklevel=2)
        return None
    found = await scorer.scores([one.record for one in rated], [one.answer for one in rated])
    agreement = JudgeAgreement.of([one.rating for one in rated], found)
    unread = scorer.unreadable
    if agreement.spearman < settings.agreement or unread > _UNREADABLE * len(rated):
        raise ConfigError(
            "the judge does not rate answers as people do",
            where=f"--judge-llm {settings.model}, {settings.labels}",
            got=f"Spearman {agreement.spearman:.2f}, {agreement.pairs:.0%} of pairs in the same "
            f"order, {unread} without a rating, of {len(rated)} answers",
            expected=f"Spearman {settings.agreement:g} or more (--judge-agreement)",
            hint="another judge, or a clearer criterion: --score 'judge:Is ...?'",
        )
    return agreement


def _rated(plan: SearchRecipe, settings: JudgeRecipe, task: Task) -> list[RatedAnswer]:
    """Rows of the task with an answer and people's rating of it."""
    if settings.labels is None:
        return []
    answer, rating, spec = settings.answer_field, settings.rating_field, task.spec
    text_field = plan.recipe.data.text_field
    rows = read_records(
        settings.labels,
        fields=tuple(dict.fromkeys((*spec.record_fields, answer, rating))),
        target_field=spec.target_field,
        columns={} if text_field is None else {"text": text_field},
        optional=(answer,),
    )
    if len(rows) < _LEAST_ROWS:
        raise DataError(
            "too few answers were rated to compare a judge with people",
            where=settings.labels,
            got=f"{len(rows)} rows",
            expected=f"{_LEAST_ROWS} or more",
        )
    found = [RatedAnswer(row, row.texts[answer], _number(row, rating)) for row in rows]
    if len({one.rating for one in found}) < 2:
        raise DataError(
            "people rated all answers alike, so that nothing can be compared",
            where=f"{settings.labels}, column {rating}",
            got=found[0].rating,
            expected="ratings that differ",
        )
    return found


def _number(row: Record, field: str) -> float:
    try:
        value = float(row.texts[field])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(
            "a rating is not a number",
            where=f"{row.source}, row {row.row}",
            got=repr(row.texts[field]),
            expected=f"a number in the column {field}",
        )
    return value
