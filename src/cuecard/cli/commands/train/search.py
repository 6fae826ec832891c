"""`cuecard search`: words instead of vectors, within a budget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cuecard.cli.fields import Asked, Fields, Flag
from cuecard.cli.llm_flags import llm_flags
from cuecard.cli.options import RESUME, DryRun, Overwrite
from cuecard.cli.recipe_flags import UNTRAINED, Given, refuse
from cuecard.cli.views.console import Json, console, print_json
from cuecard.errors import ConfigError
from cuecard.runs.folder import RunFolder
from cuecard.runs.llm_recipe import LLMRecipe
from cuecard.runs.search.recipe import JudgeRecipe, SearchRecipe, SolverRecipe
from cuecard.search.searchers import SEARCHERS

SEARCH = Fields(
    SearchRecipe,
    {
        "searcher": Flag(metavar="NAME", names=lambda _: SEARCHERS),
        "instruction": Flag(metavar="TEXT"),
        "start": Flag(metavar="PATH"),
        "budget": Flag("--search-budget", metavar="LIMITS"),
        "score": Flag("--score", metavar="SCORE"),
        "search.rows": Flag("--race-rows"),
        "search.proposals": Flag(),
        "search.rounds": Flag(),
        "search.finalists": Flag(),
        "search.seed": Flag("--search-seed"),
        "search.show": Flag("--show"),
        "search.words_by": Flag(),
        "search.trigger_tokens": Flag(),
        "search.fluency": Flag(),
        **llm_flags(Flag("--solver-llm", metavar="MODEL", optional=True), "solver", "--solver"),
        "policy": Flag(metavar="MODEL"),
        "search.population": Flag(),
        "search.step_rows": Flag(),
        "search.written_tokens": Flag(),
        **llm_flags(Flag("--llm", metavar="MODEL", optional=True)),
        **llm_flags(Flag("--judge-llm", metavar="MODEL", optional=True), "judge", "--judge-llm"),
        "judge.budget": Flag("--judge-budget", metavar="LIMITS"),
        "judge.labels": Flag("--judge-labels", metavar="FILE"),
        "judge.answer_field": Flag("--judge-answer-field", metavar="COLUMN"),
        "judge.rating_field": Flag("--judge-rating-field", metavar="COLUMN"),
        "judge.agreement": Flag("--judge-agreement"),
    },
    sections={"llm": LLMRecipe, "solver": SolverRecipe, "judge": JudgeRecipe},
    titles={
        "search": "Search",
        "llm": "LLM that writes",
        "solver": "LLM that answers",
        "judge": "LLM that judges",
        "searcher": "Search",
    },
)

_UNUSED = ("training", "method", "seeds", "keep", "allow", "compare", "demonstrations")


def search(
    given: Annotated[Given, UNTRAINED],
    own: Annotated[Asked[SearchRecipe], SEARCH],
    resume_folder: Annotated[Path | None, RESUME] = None,
    dry: DryRun = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    r"""Search for a prompt's words: instructions and demonstrations, within a budget.

    Candidates race on training rows; the best and the prompt as it was answer the validation rows;
    the better one is kept, and tested once. The folder (`--out`, by default runs/DATA-search) gets
    `search.md`, `search.json`, the prompt, and a journal, by which a stopped search goes on.

    Example: cuecard search tickets.csv --searcher opro --llm gpt-4o-mini --search-budget '$0.50'

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C (the journal is kept).
    """
    from cuecard.cli.views.progress import EventLines, fetch_progress
    from cuecard.cli.views.search import print_costs, print_search, search_text
    from cuecard.runs.search.run import plan_search, run_search

    _check_unused(given)
    if resume_folder is not None:
        more = [flag for flag, on in {"--overwrite": overwrite, "--dry-run": dry}.items() if on]
        refuse([*given.flags.values(), *own.flags.values(), *more], "a search")
        plan = RunFolder(resume_folder, SearchRecipe).to_resume()
    else:
        recipe = given.recipe("cuecard search", unused=("training.budget",))
        plan = own.settings(recipe=recipe)
        _check_solver(plan, given)
    view = EventLines(search_text, json=as_json)
    with fetch_progress(json=as_json) as progress:
        if dry:
            costs = plan_search(plan, progress=progress, overwrite=overwrite)
            print_json(costs.to_dict()) if as_json else print_costs(costs, console())
            return
        outcome = run_search(plan, observer=view, progress=progress, overwrite=overwrite)
    print_json({"event": "result", **outcome.to_dict()}) if as_json else print_search(
        outcome, console()
    )


def _check_solver(plan: SearchRecipe, given: Given) -> None:
    """Refuse a backbone beside an LLM that answers."""
    if plan.solver is not None and "backbone" in given.flags:
        raise ConfigError(
            "an LLM answers the rows, so that no backbone does",
            where=SolverRecipe.FLAG,
            got=given.flags["backbone"],
            expected="one of them",
        )


def _check_unused(given: Given) -> None:
    """Refuse settings of a training and of its comparison: nothing is trained here."""
    for key, flag in given.flags.items():
        if key.split(".")[0] in _UNUSED:
            raise ConfigError(
                "a search trains nothing",
                where="cuecard search",
                got=flag,
                expected="flags of the data, the task, the backbone and the search",
            )
