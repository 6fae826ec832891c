"""A search for words, by all searchers that need no LLM, within what a training runs forward."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from statistics import fmean
from typing import Any

from cuecard.comparison.contest.contender import Contest, Loaded, Prepared, WithoutSteps
from cuecard.comparison.contest.contenders.in_words import task_in_words
from cuecard.comparison.contest.contenders.prompts import trainable_start
from cuecard.comparison.contest.rates import rates_of, setup_of
from cuecard.engine.local.engine import LocalEngine
from cuecard.search.budget import SearchBudget
from cuecard.search.calls import Calls
from cuecard.search.candidate import PromptCandidate, digest, first_candidate
from cuecard.search.found import Found
from cuecard.search.journal import FILE, Journal
from cuecard.search.loop import Search
from cuecard.search.model import SearchModel
from cuecard.search.searchers import SEARCHERS
from cuecard.search.settings import SearchSettings
from cuecard.search.solver import EngineSolver
from cuecard.tasks import Task
from cuecard.tasks.encoding.batching import row_lengths
from cuecard.training.loop import STEP_PASSES
from cuecard.types import Backbone

_SEARCHER = "auto"


class WordSearch(WithoutSteps):
    """The words that a portfolio of searchers finds: demonstrations, edits, labels' words."""

    title = "search of words"

    def settings(self, contest: Contest) -> Mapping[str, Any]:
        """The searcher, and what its budget is of."""
        return {"searcher": _SEARCHER, **trainable_start(contest).parts}

    def prepare(self, contest: Contest) -> Prepared:
        """Search within the tokens that prompt tuning runs forward at all its rates."""
        task, _ = task_in_words(contest)
        cpu, began = time.process_time(), time.perf_counter()
        tokens = _tokens_of_training(contest)
        found = asyncio.run(_search(contest, task, tokens))
        best, backbone = found.best, contest.backbone
        prior = 4 * len(best.prior or ())
        spec = best.to_spec(task.spec, backbone.tokenizer, backbone.max_positions)
        numbers = best.vectors * backbone.hidden_size
        return Prepared(
            score=found.validation(best),
            parameters=numbers,
            nbytes=len(spec.template.encode()) + prior + 4 * numbers,
            cpu_seconds=time.process_time() - cpu,
            seconds=time.perf_counter() - began,
            loaded=partial(_loaded, backbone, task, best),
            mixes=True,
            facts={
                "searcher": _SEARCHER,
                "origin": best.origin,
                "template": spec.template,
                "tokens": tokens,
                "effort": found.effort,
            },
        )


def _tokens_of_training(contest: Contest) -> int:
    """What prompt tuning runs forward at all rates: steps, each token twice, and validations."""
    setup = setup_of(contest, trainable_start(contest))
    config, plan = setup.config, setup.validations
    each = fmean(row_lengths(setup.rows)) + setup.start.injection().length
    steps = STEP_PASSES * config.steps * config.accumulation * config.batch_rows * each
    return round(len(rates_of(contest, setup)) * (steps + plan.count * plan.tokens))


async def _search(contest: Contest, task: Task, tokens: int) -> Found:
    """Search; what its journal has is not run again.

    Raises:
        ConfigError: the budget is too small to compare anything.
    """
    backbone, start = contest.backbone, first_candidate(task.spec)
    settings = SearchSettings(seed=contest.config.seed)
    about = {
        "data": task.report.data_hash,
        "backbone": backbone.fingerprint.weights,
        "searcher": _SEARCHER,
        "start": start.key,
        "settings": settings.model_dump(mode="json"),
    }
    path = None if contest.folder is None else contest.folder / FILE
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    calls = Calls(Journal(path, digest(about)), SearchBudget(tokens=tokens))
    engine = LocalEngine(backbone)
    await engine.start()
    try:
        solver = EngineSolver(engine, backbone.fingerprint.weights, task.spec, calls)
        searcher, model = SEARCHERS[_SEARCHER].make(), SearchModel(backbone, calls)
        options: dict[str, Any] = {"model": model, "observer": partial(_tell, contest)}
        search = Search(task, start, searcher, solver, calls, settings, **options)
        return await search.run()
    finally:
        await engine.close()


def _tell(contest: Contest, event: dict[str, Any]) -> None:
    """An event of the search: some have the names of a training's events."""
    contest.tell({"event": "search", "told": event})


@contextmanager
def _loaded(backbone: Backbone, task: Task, best: PromptCandidate) -> Iterator[Loaded]:
    spec = best.to_spec(task.spec, backbone.tokenizer, backbone.max_positions)
    soft = None if best.soft is None else best.soft.injection
    yield Loaded(backbone, spec, soft, prior=best.prior)
