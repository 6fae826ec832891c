"""Searches for an extraction prompt: its instruction, the names of its types, its examples."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cuecard.catalogue import Progress
from cuecard.errors import DataError
from cuecard.evaluation.report import write_json
from cuecard.graphrag.gold import TextSet
from cuecard.graphrag.measuring.measure import MeasureReport, measure_costs, measured
from cuecard.graphrag.measuring.prompts import ExtractionPrompt
from cuecard.graphrag.measuring.settings import MeasureSettings
from cuecard.graphrag.optimising.layout import PromptLayout
from cuecard.graphrag.optimising.objectives import Objective
from cuecard.graphrag.optimising.solver import CandidatePrompts, ExtractionSolver
from cuecard.graphrag.optimising.task import extraction_task, start_of
from cuecard.graphrag.optimising.types_search import WithTypeNames
from cuecard.llms.openai_llm import OpenAILLM
from cuecard.llms.prices import Price
from cuecard.plain_files import write_text
from cuecard.runs.folder import RunFolder
from cuecard.runs.graphrag.asking import own_budget_flag, sitting
from cuecard.runs.graphrag.dataset import usable
from cuecard.runs.graphrag.optimise_recipe import OptimiseRecipe
from cuecard.runs.graphrag.outcome import OptimiseOutcome
from cuecard.runs.graphrag.recipe import BUDGET
from cuecard.runs.llms import ChosenLLM, Engines, connect
from cuecard.search.asker import Asker
from cuecard.search.budget import BudgetSpent
from cuecard.search.calls import Calls
from cuecard.search.candidate import PromptCandidate, digest
from cuecard.search.costs import CostPart, SearchCosts, of_test
from cuecard.search.found import Found
from cuecard.search.journal import FILE, Journal
from cuecard.search.loop import Search
from cuecard.search.searchers import SEARCHERS
from cuecard.tasks import Task
from cuecard.training.storage.log import Observer
from cuecard.types import Record
from cuecard.validation_text import counted

JSON, PROMPT = "optimise.json", "extract_graph.txt"


@dataclass(frozen=True)
class _SetUp:
    """What a search begins with."""

    texts: TextSet
    types: tuple[str, ...]
    layout: PromptLayout
    task: Task
    objective: Objective
    llm: ChosenLLM
    writer: ChosenLLM


def run_optimise(
    plan: OptimiseRecipe,
    *,
    observer: Observer | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> OptimiseOutcome:
    """Search; the folder holds the journal, `extract_graph.txt` and `optimise.json`.

    The same search in the folder goes on, and pays for no call twice.

    Raises:
        CuecardError: what cannot be read or loaded, too few documents, too small a budget.
        Interrupted: Ctrl-C; what was answered is kept.
    """
    place = RunFolder.of(plan)
    place.check(plan, overwrite=overwrite)
    made = _set_up(plan, progress)
    with place.claimed(plan, overwrite=overwrite) as folder, sitting(place):
        outcome = asyncio.run(_optimised(plan, made, folder, observer or (lambda event: None)))
        write_text(outcome.prompt.template, folder / PROMPT)
        write_json(outcome.to_dict(), folder / JSON)
    return outcome


def plan_optimise(
    plan: OptimiseRecipe, *, progress: Progress | None = None, overwrite: bool = False
) -> SearchCosts:
    """What a search would take; nothing is asked, and nothing written.

    Raises:
        CuecardError: what the search itself would refuse before its first call.
    """
    RunFolder.of(plan).check(plan, overwrite=overwrite)
    made = _set_up(plan, progress)
    calls = Calls(Journal(None, ""), plan.limits)

    async def costs() -> SearchCosts:
        async with Engines() as engines:
            asker = await engines.asker(made.llm, calls)
            writer = await _writer(made, engines, asker, calls)
            prompts = _prompts(made, made.texts)
            found = _search(plan, made, made.task, prompts, asker, writer, calls).needs.costs()
            if made.texts.labelled:
                return found
            prompt, (asked, settings) = _as_it_is(made), _own_answers(plan, made)
            most = measure_costs([prompt], asked, settings, asker)[prompt.name]
            what = (
                f"the prompt as it is on {counted(len(asked.texts), 'training row')}, as examples"
            )
            return replace(found, parts=(CostPart("examples", what, most), *found.parts))

    with own_budget_flag():
        return asyncio.run(costs())


def _set_up(plan: OptimiseRecipe, progress: Progress | None) -> _SetUp:
    texts = plan.read_texts()
    layout = PromptLayout.of(plan.prompt_or_best(plan.prompt))
    task = extraction_task(
        texts, layout, seed=plan.seed, split=plan.split, max_tokens=plan.max_tokens
    )
    objective = plan.objective_for(labelled=texts.labelled)
    llm = connect(plan.needed_llm(), plan.limits, BUDGET, progress)
    own = plan.writer
    same = own is None or (own.model, own.url) == (llm.settings.model, llm.settings.url)
    writer = llm if same or own is None else connect(own, plan.limits, BUDGET, progress)
    return _SetUp(texts, plan.entity_types(texts), layout, task, objective, llm, writer)


async def _writer(made: _SetUp, engines: Engines, asker: Asker, calls: Calls) -> Asker:
    return asker if made.writer is made.llm else await engines.asker(made.writer, calls)


def _prompts(made: _SetUp, texts: TextSet) -> CandidatePrompts:
    return CandidatePrompts(made.layout, made.types, {each.text: each for each in texts.texts})


def _search(
    plan: OptimiseRecipe,
    made: _SetUp,
    task: Task,
    prompts: CandidatePrompts,
    asker: Asker,
    writer: Asker,
    calls: Calls,
    observer: Observer | None = None,
) -> Search:
    most = plan.prompt_tokens
    if most is None and not isinstance(made.llm.model, OpenAILLM):
        most = made.llm.model.max_positions - plan.max_tokens
    solver = ExtractionSolver(asker, prompts, made.objective, plan.max_tokens, most)
    start = start_of(made.layout)
    after = of_test(solver, start, task.test)
    searcher = SEARCHERS[plan.searcher].make()
    return Search(
        task,
        start,
        WithTypeNames(searcher, made.types, prompts.texts),
        solver,
        calls,
        plan.search,
        asker=writer,
        observer=observer,
        after=after,
    )


async def _optimised(
    plan: OptimiseRecipe, made: _SetUp, folder: Path, tell: Observer
) -> OptimiseOutcome:
    about = {
        "data": made.task.report.data_hash,
        "llm": made.llm.identity,
        "writer": made.writer.identity,
        "start": made.layout.prompt.template,
        "settings": [plan.searcher, made.objective, plan.search.model_dump(mode="json")],
    }
    calls = Calls(Journal(folder / FILE, digest(about)), plan.limits)
    async with Engines() as engines:
        asker = await engines.asker(made.llm, calls)
        writer = await _writer(made, engines, asker, calls)
        task, texts = made.task, made.texts
        if not texts.labelled:
            task, texts = await _with_own_answers(plan, made, asker, tell)
        prompts = _prompts(made, texts)
        search = _search(plan, made, task, prompts, asker, writer, calls, tell)
        found = await search.run()
        calls.share = math.inf  # the test is part of a search, however late it is
        test = await _tested(plan, made, prompts, found, asker, calls, tell)
    found = replace(found, spent=calls.ledger.spent)
    return OptimiseOutcome(folder, made.objective, found, prompts.prompt(found.best), test)


def _as_it_is(made: _SetUp) -> ExtractionPrompt:
    return made.layout.prompt.with_types(made.types)


def _own_answers(plan: OptimiseRecipe, made: _SetUp) -> tuple[TextSet, MeasureSettings]:
    """What the prompt as it is is asked for, to have examples."""
    return _texts_of(made, made.task.train), MeasureSettings((), max_tokens=plan.max_tokens)


async def _with_own_answers(
    plan: OptimiseRecipe, made: _SetUp, asker: Asker, tell: Observer
) -> tuple[Task, TextSet]:
    """Training texts with the start's own answers, as examples where there is no gold.

    Raises:
        DataError: next to none can be shown.
    """
    asked, settings = _own_answers(plan, made)
    answers = await measured(_as_it_is(made), asked, settings, asker, Price(), tell)
    kept, left_out = usable(asked, answers.read)
    if len(kept.texts) < plan.search.block:
        raise DataError(
            "the prompt's own answers are too few to search with",
            where=made.texts.name,
            got=f"{len(kept.texts)} of {len(asked.texts)} can be used; "
            + "; ".join(f"{what} ({count})" for what, count in left_out.most_common(3)),
            expected=f"{plan.search.block} or more",
            hint="more texts, a prompt from `cuecard graphrag tune`, or gold",
        )
    form = made.layout.prompt.answers
    targets = {each.text: form.write(each.extraction) for each in kept.texts}
    train = tuple(
        replace(row, target=targets[row.text("text")])
        for row in made.task.train
        if row.text("text") in targets
    )
    texts = {each.text: each for each in (*made.texts.texts, *kept.texts)}
    return replace(made.task, train=train), TextSet(made.texts.name, tuple(texts.values()))


async def _tested(
    plan: OptimiseRecipe,
    made: _SetUp,
    prompts: CandidatePrompts,
    found: Found,
    asker: Asker,
    calls: Calls,
    tell: Observer,
) -> MeasureReport | None:
    """The start and what was kept on the test documents; None where the budget does not last."""
    texts = _texts_of(made, made.task.test)
    price = made.llm.price or Price()
    settings = MeasureSettings(made.types, max_tokens=plan.max_tokens, seed=plan.seed)
    candidates: dict[str, PromptCandidate] = {"start": found.start}
    if found.better:
        candidates["found"] = found.best
    measures = []
    try:
        for name, candidate in candidates.items():
            names = prompts.names(candidate)
            prompt = replace(prompts.prompt(candidate), name=name)
            asked = replace(settings, types=tuple(names.values()))
            measures.append(await measured(prompt, texts.renamed(names), asked, asker, price, tell))
    except BudgetSpent:
        return None
    return MeasureReport(texts, settings, tuple(measures), calls.ledger.spent)


def _texts_of(made: _SetUp, records: Sequence[Record]) -> TextSet:
    known = {each.text: each for each in made.texts.texts}
    return TextSet(made.texts.name, tuple(known[row.text("text")] for row in records))
