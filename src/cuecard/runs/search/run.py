"""Runs a search: its journal, what answers and what writes, the test, the report."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cuecard.artifacts import Prompt
from cuecard.artifacts.seen_rows import RowsEntry
from cuecard.artifacts.words import READERS, read_parts, write_words
from cuecard.artifacts.words.parts import PromptParts
from cuecard.catalogue import Progress
from cuecard.errors import ConfigError, Interrupted, LLMError
from cuecard.evaluation.evaluate import Evaluation, gain
from cuecard.evaluation.predict import check_task
from cuecard.evaluation.report import write_json
from cuecard.lazy import require_extra, torch
from cuecard.plain_files import write_text
from cuecard.progress_bar import with_progress_bar
from cuecard.runs.folder import RunFolder
from cuecard.runs.llms import ChosenLLM, Engines
from cuecard.runs.recipe_method import prompt_folder
from cuecard.runs.search.judge import RatedAnswer, check_judge, open_judge
from cuecard.runs.search.models import SearchModels, search_models
from cuecard.runs.search.outcome import SearchOutcome, search_markdown
from cuecard.runs.search.recipe import SearchRecipe
from cuecard.runs.search.tested import tested_by_backbone, tested_by_llm
from cuecard.search.budget import SearchBudget
from cuecard.search.calls import Calls
from cuecard.search.candidate import PromptCandidate, digest, first_candidate, with_stop
from cuecard.search.costs import SearchCosts, of_test
from cuecard.search.found import Found
from cuecard.search.journal import FILE, Journal
from cuecard.search.loop import Search
from cuecard.search.model import SearchModel
from cuecard.search.scorer import RowScorer, Scorer
from cuecard.search.searchers import SEARCHERS, asks_llm, at_hand, check_settings
from cuecard.search.solver import EngineSolver, LLMSolver, Solver
from cuecard.search.words.saved_words import candidates_of
from cuecard.tasks import Task
from cuecard.tasks.kinds import KINDS
from cuecard.tracking import with_trackers
from cuecard.training.storage.log import Observer, RunLog
from cuecard.types import Backbone, InputTokens

JSON, MARKDOWN, WORDS = "search.json", "search.md", "prompt.txt"


@with_progress_bar
@with_trackers
def run_search(
    plan: SearchRecipe,
    *,
    observer: Observer | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> SearchOutcome:
    """Search; the folder holds the journal, the prompt, `search.json` and `search.md`.

    The same search in the folder goes on, and pays for no call twice.

    Args:
        observer: called with every event.
        overwrite: start again where the folder holds another one.

    Raises:
        CuecardError: see `Task.from_file`, `load_backbone` and `Search.run`.
        Interrupted: Ctrl-C; what was answered is kept.
    """
    place = RunFolder.of(plan)
    made = _set_up(plan, progress, overwrite=overwrite)
    _costs(plan, made)  # what is refused leaves the folder as it is
    with place.claimed(plan, overwrite=overwrite) as folder:
        # Written anew: what was answered before is told again, from the journal.
        log = RunLog(folder, observer)
        try:
            outcome = asyncio.run(_search(plan, made, folder, lambda event: log.write(**event)))
        except KeyboardInterrupt:
            raise Interrupted(
                "stopped during the search; what was answered is in its journal",
                where=str(folder),
                hint=f"go on with: {place.resume_command}",
            ) from None
        except LLMError as error:
            hint = error.hint or f"answers are kept; once it answers: {place.resume_command}"
            raise error.replaced(hint=hint) from error
        _write(outcome, folder)
        log.write("kept", **_numbers(outcome))
    return outcome


def _numbers(outcome: SearchOutcome) -> dict[str, Any]:
    """What a search led to, as the last event of its log; which candidate was kept."""
    found = outcome.found
    tested = {} if outcome.test is None else {"test": outcome.test.score}
    kept = {"key": found.best.key, "validation": found.validation(found.best)}
    return {"round": found.rounds, **kept, **tested}


def plan_search(
    plan: SearchRecipe, *, progress: Progress | None = None, overwrite: bool = False
) -> SearchCosts:
    """What a search would take; nothing is asked, and nothing written.

    Raises:
        CuecardError: what the search itself would refuse before its first call.
    """
    return _costs(plan, _set_up(plan, progress, overwrite=overwrite))


def _costs(plan: SearchRecipe, made: _SetUp) -> SearchCosts:
    """What it takes at most.

    Raises:
        ConfigError: too few rows, or a budget that is too small, to compare anything.
    """
    calls = Calls(Journal(None, ""), SearchBudget.parse(plan.budget))

    async def costs() -> SearchCosts:
        async with Engines() as engines:
            search, _ = await _made(plan, made, calls, engines, made.scorer)
            judge = None if plan.judge is None else plan.judge.budget
            return replace(search.needs.costs(), judge=judge)

    return asyncio.run(costs())


@dataclass(frozen=True)
class _SetUp:
    """What a search begins with.

    Attributes:
        scorer: the rule that scores where no LLM judges.
        rated: answers that people rated, for a judge.
        start: the prompt that is to be improved.
        others: prompts that race with it before the first round.
    """

    task: Task
    scorer: Scorer
    rated: list[RatedAnswer]
    models: SearchModels
    start: PromptCandidate
    others: Sequence[PromptCandidate]


def _set_up(plan: SearchRecipe, progress: Progress | None, *, overwrite: bool) -> _SetUp:
    """All that is checked and loaded before a search."""
    require_extra("train", "a search")
    plan.recipe.check_one_seed("a search")
    _check_needs(plan)
    RunFolder.of(plan).check(plan, overwrite=overwrite)
    task = plan.recipe.read_task(progress)
    if task.spec.mode not in ("labels", "text"):
        raise ConfigError(
            "words can be searched for where a model answers in words",
            where="kind",
            got=f"{task.spec.kind}, answered by a trained head",
            expected="labels that are told by their words, or texts",
        )
    task = with_stop(task)
    rated = check_judge(plan, task)
    scorer = RowScorer(task.spec, None if plan.judge is not None else plan.score)
    saved = None if plan.start is None else _saved(plan.start)
    models, start = search_models(plan, progress), first_candidate(task.spec, plan.instruction)
    if not isinstance(models.answers, ChosenLLM):
        check_task(models.answers, task.spec)
    others: Sequence[PromptCandidate] = ()
    if isinstance(saved, PromptParts):
        others = [PromptCandidate(saved.manual(task.spec), str(plan.start))]
    elif saved is not None:
        backbone = None if isinstance(models.answers, ChosenLLM) else models.answers
        others = candidates_of(saved, start, backbone, str(plan.start))
    return _SetUp(task, scorer, rated, models, start, others)


def _check_needs(plan: SearchRecipe) -> None:
    """Refuse a searcher that lacks what it needs, and what it has no use for."""
    if plan.llm is not None and not asks_llm(plan.searcher):
        raise ConfigError(
            "this searcher does not ask an LLM to write",
            where=f"{plan.llm.FLAG} {plan.llm.model}",
            got=f"--searcher {plan.searcher}",
            expected=", ".join(name for name, _ in SEARCHERS.items() if asks_llm(name)),
        )
    check_settings(plan.searcher, plan.search)
    labels = KINDS[plan.recipe.task.kind].labelled
    has = at_hand(llm=plan.llm is not None, labels=labels, model=plan.solver is None)
    missing = SEARCHERS[plan.searcher].missing(has)
    if missing is not None:
        raise ConfigError(
            f"this searcher needs {missing}",
            where=f"--searcher {plan.searcher}",
            got="none",
            hint="searchers that do not need it: "
            + ", ".join(name for name, one in SEARCHERS.items() if one.missing(has) is None),
        )


def _saved(start: str) -> Prompt | PromptParts:
    """A saved prompt, or one of another tool."""
    place = Path(start)
    if place.is_file() or (place.suffix in READERS and not place.is_dir()):
        return read_parts(place)
    return Prompt.load(prompt_folder(start))


async def _search(
    plan: SearchRecipe,
    made: _SetUp,
    folder: Path,
    observer: Observer | None,
) -> SearchOutcome:
    task, scorer, writes, judging = made.task, made.scorer, made.models.writes, made.models.judges
    about = {
        "data": task.report.data_hash,
        **_identity(made.models.answers),
        "searcher": plan.searcher,
        "start": made.start.key,
        "settings": plan.search.model_dump(mode="json"),
        "llm": None if writes is None else writes.identity,
        # Left out where there is none, so that journals of earlier versions are the same search's.
        **({"others": [each.key for each in made.others]} if made.others else {}),
        **({} if plan.score is None else {"score": plan.score}),
        **({} if judging is None else {"judge": judging.identity}),
        **({} if made.models.policy is None else _identity(made.models.policy, "policy")),
    }
    calls = Calls(Journal(folder / FILE, digest(about)), SearchBudget.parse(plan.budget))
    async with Engines() as engines:
        judge = None
        if plan.judge is not None and judging is not None:
            llm, tell = await engines.llm(judging), observer or (lambda event: None)
            judge = await open_judge(
                plan, plan.judge, task, judging, llm, calls, folder, made.rated, tell
            )
            scorer = judge.scorer
        search, solver = await _made(plan, made, calls, engines, scorer, observer)
        found = await search.run()
        outcome = await _outcome(plan, made, found, scorer, solver, calls)
        return replace(outcome, judge=judge)


async def _made(
    plan: SearchRecipe,
    made: _SetUp,
    calls: Calls,
    engines: Engines,
    scorer: Scorer,
    observer: Observer | None = None,
) -> tuple[Search, Solver]:
    """The search, and what answers in it."""
    task, answers, writes = made.task, made.models.answers, made.models.writes
    asker = None if writes is None else await engines.asker(writes, calls, observer)
    options: dict[str, Any] = {"asker": asker, "observer": observer, "others": made.others}
    solver: Solver
    if isinstance(answers, ChosenLLM):
        solver = LLMSolver(await engines.asker(answers, calls, observer), task.spec, scorer)
        options["after"] = of_test(solver, made.start, task.test)
    else:
        engine, weights = await engines.of(answers), answers.fingerprint.weights
        solver = EngineSolver(engine, weights, task.spec, calls, scorer)
        options["model"] = SearchModel(answers, calls)
        if made.models.policy is not None:
            options["policy"] = SearchModel(made.models.policy, calls)
    searcher = SEARCHERS[plan.searcher].make()
    return Search(task, made.start, searcher, solver, calls, plan.search, **options), solver


def _identity(answers: Backbone | ChosenLLM, role: str = "backbone") -> dict[str, Any]:
    """What answers depend on: the model that gives them."""
    if isinstance(answers, ChosenLLM):
        return {"solver": answers.identity}
    return {role: answers.fingerprint.weights}


async def _outcome(
    plan: SearchRecipe, made: _SetUp, found: Found, scorer: Scorer, solver: Solver, calls: Calls
) -> SearchOutcome:
    """Test what was found and the start, once, and make the prompt."""
    task, backbone = made.task, made.models.answers
    prompt = test = start = difference = None
    if isinstance(solver, LLMSolver):
        calls.share = math.inf  # the test is part of a search, however late it is
        start = await tested_by_llm(solver, scorer, found.start, task.test)
        test = await tested_by_llm(solver, scorer, found.best, task.test)
        found, template = replace(found, spent=calls.ledger.spent), solver.text(found.best)
        first = solver.text(found.start)
        asked = solver.asked(found.best)
    else:
        assert not isinstance(backbone, ChosenLLM)
        if task.test:
            start = await tested_by_backbone(backbone, found.start, task, scorer)
            test = (
                await tested_by_backbone(backbone, found.best, task, scorer)
                if found.better
                else start
            )
        prompt = _prompt(plan, task, backbone, found, test)
        template, asked = prompt.spec.template, prompt.spec
        first = found.start.to_spec(task.spec, backbone.tokenizer, backbone.max_positions).template
    if found.better and test is not None and start is not None:
        difference = gain(test, start, metric=scorer.name)
    return SearchOutcome(
        plan, found, template, first, prompt, test, start, difference, scorer.name, asked
    )


def _prompt(
    plan: SearchRecipe, task: Task, backbone: Backbone, found: Found, test: Evaluation | None
) -> Prompt:
    """What was kept, for the backbone that answered."""
    soft = None if found.best.soft is None else found.best.soft.injection
    metrics: dict[str, Any] = {"validation": {"score": found.validation(found.best)}}
    if test is not None:
        metrics["test"] = test.to_dict()["metrics"]
    return Prompt.create(
        soft or InputTokens(torch.zeros(0, backbone.hidden_size)),
        backbone=backbone,
        spec=found.best.to_spec(task.spec, backbone.tokenizer, backbone.max_positions),
        slot="prefix",
        prior=found.best.prior,
        method="search",
        method_config={
            "searcher": plan.searcher,
            "origin": found.best.origin,
            "parts": found.best.parts,
        },
        data_hash=task.report.data_hash,
        rows=RowsEntry.of(task.train, task.validation),
        seed=plan.search.seed,
        metrics=metrics,
    )


def _write(outcome: SearchOutcome, folder: Path) -> None:
    if outcome.prompt is None:
        write_text(outcome.template, folder / WORDS)
        write_words(folder, outcome.asked, outcome.found.best.parts)
    else:
        outcome.prompt.save(folder / "prompt")
    write_json(outcome.to_dict(), folder / JSON)
    write_text(search_markdown(outcome), folder / MARKDOWN)
